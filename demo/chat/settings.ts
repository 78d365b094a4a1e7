import { h } from "../dom.ts";
import { labelled } from "../parts/choice.ts";

/** How answers are drawn; null: as the model's own generation settings say. */
export interface ChatSettings {
  system: string;
  temperature: number | null;
  top_p: number | null;
  max_new_tokens: number;
  /** null: another one each time */
  seed: number | null;
}

/** @param begin the run's system prompt, and the temperature to begin with */
export function chatSettings(begin: Pick<ChatSettings, "system" | "temperature">): {
  element: HTMLElement;
  settings: ChatSettings;
} {
  const settings: ChatSettings = { ...begin, top_p: null, max_new_tokens: 512, seed: null };
  const prompt = h("textarea", { rows: 2, placeholder: "none" });
  prompt.value = settings.system;
  prompt.addEventListener("input", () => (settings.system = prompt.value));
  const number = (
    name: "temperature" | "top_p" | "max_new_tokens",
    limits: { min: number; max: number; step: number },
  ) => {
    const input = h("input", { type: "number", ...limits, inputmode: "decimal", placeholder: "the model's own" });
    const show = () => (input.value = String(settings[name] ?? ""));
    // an impossible value goes back to the last possible one
    input.addEventListener("change", () => {
      const { valueAsNumber: value } = input;
      const whole = limits.step === 1 ? Math.round(value) : value;
      if (Number.isFinite(whole)) settings[name] = Math.min(limits.max, Math.max(limits.min, whole));
      else if (name !== "max_new_tokens" && !input.validity.badInput) settings[name] = null;
      show();
    });
    show();
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
