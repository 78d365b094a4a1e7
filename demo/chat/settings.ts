import { h } from "../dom.ts";
import { labelled } from "../parts/choice.ts";

/** How answers are drawn. */
export interface ChatSettings {
  system: string;
  temperature: number;
  top_p: number;
  max_new_tokens: number;
  /** null: another one each time */
  seed: number | null;
}

const DEFAULTS: ChatSettings = { system: "", temperature: 0, top_p: 1, max_new_tokens: 512, seed: null };

/** @param system the run's system prompt, to begin with */
export function chatSettings(system: string): { element: HTMLElement; settings: ChatSettings } {
  const settings = { ...DEFAULTS, system };
  const prompt = h("textarea", { rows: 2, placeholder: "none" });
  prompt.value = system;
  prompt.addEventListener("input", () => (settings.system = prompt.value));
  const number = (
    name: "temperature" | "top_p" | "max_new_tokens",
    limits: { min: number; max: number; step: number },
  ) => {
    const input = h("input", { type: "number", value: settings[name], ...limits, inputmode: "decimal" });
    // an impossible value goes back to the last possible one
    input.addEventListener("change", () => {
      const { valueAsNumber: value } = input;
      const whole = limits.step === 1 ? Math.round(value) : value;
      if (Number.isFinite(whole)) settings[name] = Math.min(limits.max, Math.max(limits.min, whole));
      input.value = String(settings[name]);
    });
    return input;
  };
  const seed = h("input", { type: "number", min: 0, max: 2 ** 32 - 1, step: 1, placeholder: "random" });
  seed.addEventListener("change", () => {
    const { valueAsNumber: value } = seed;
    settings.seed = Number.isFinite(value) ? Math.min(2 ** 32 - 1, Math.max(0, Math.round(value))) : null;
    seed.value = settings.seed === null ? "" : String(settings.seed);
  });
  const element = h(
    "details",
    { class: "more chat-settings" },
    h("summary", {}, "Settings"),
    labelled("System prompt", prompt),
    h(
      "div",
      { class: "fields" },
      labelled(
        "Temperature",
        number("temperature", { min: 0, max: 5, step: 0.1 }),
        "0 takes the likeliest token, so that the same question gets the same answer.",
      ),
      labelled("Top-p", number("top_p", { min: 0.01, max: 1, step: 0.01 })),
      labelled("Longest answer, tokens", number("max_new_tokens", { min: 1, max: 32768, step: 1 })),
      labelled("Seed", seed, "Empty: another one each time."),
    ),
  );
  return { element, settings };
}
