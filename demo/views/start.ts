import type { Job, JobPlan, Method, ModelSource, Preset } from "../../src/client/types.ts";
import { METHOD_NAMES } from "../../src/report/names.ts";
import type { App, DeviceState, Offer } from "../app.ts";
import { settled } from "../cell.ts";
import { fill, h } from "../dom.ts";
import {
  type Draft,
  EMBEDDED_PROBLEMS,
  embeddedJob,
  GSM8K,
  jobOf,
  METHODS_OF,
  type MethodChoice,
  nameOf,
} from "../jobs.ts";
import { choice, labelled, select } from "../parts/choice.ts";
import { dataPicker } from "../parts/data-picker.ts";
import { downloader } from "../parts/downloader.ts";
import { forecast } from "../parts/forecast.ts";
import { modelPicker } from "../parts/model-picker.ts";
import { problemLine } from "../parts/notice.ts";
import { part } from "../parts/part.ts";
import { type RecipeForm, recipeForm } from "../parts/recipe-form.ts";
import { skipLinks } from "../parts/skip-links.ts";
import { storageLine } from "../parts/storage-line.ts";
import { unfinished } from "../parts/unfinished.ts";
import { problemOf, webgpuAdvice } from "../problems.ts";
import type { View } from "./view.ts";

/** The first page: one button that trains immediately, and all choices below it. */
export async function startView(app: App, signal: AbortSignal): Promise<View> {
  const presets = await app.trainer.recipe.presets();
  const { offer } = app;
  app.offer = null;
  const element = h(
    "div",
    { class: "view start" },
    unfinished(app, signal),
    offer === null && hero(app, signal, presets),
    await own(app, signal, presets, offer),
  );
  return { title: "Train", element };
}

/** Stores a job and trains it on the run's page. */
async function begin(app: App, job: Job): Promise<void> {
  const run = await app.open(await app.trainer.runs.create(job));
  void app.train(run);
  location.hash = `#/runs/${encodeURIComponent(run.id)}`;
}

function hero(app: App, signal: AbortSignal, presets: readonly Preset[]): HTMLElement {
  const said = h("div", { class: "said" });
  const button = h("button", { type: "button", class: "primary large" }, "Train the embedded model");
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      await begin(app, embeddedJob(presets));
    } catch (error) {
      fill(said, problemLine("error", problemOf(error)));
      button.disabled = false;
    }
  });
  app.device.watch(signal, (state) => {
    button.disabled = state.state === "missing";
    fill(said, ...deviceSays(state));
  });
  return h(
    "section",
    { class: "hero", "aria-labelledby": "hero-title" },
    h(
      "div",
      { class: "pitch" },
      h("h1", { id: "hero-title" }, "Teach a small language model, in this tab"),
      h(
        "p",
        { class: "lead" },
        "Model, problems and training are part of the page: nothing to download, nothing to install, nothing sent away.",
      ),
      button,
      said,
    ),
    story(),
  );
}

/** Describes what the first button does. */
function story(): HTMLElement {
  const step = (title: string, text: string) => h("li", {}, h("strong", {}, title), h("span", {}, text));
  return h(
    "div",
    { class: "story" },
    h(
      "figure",
      { class: "sample" },
      h("figcaption", {}, "One of its problems"),
      h("p", {}, "Ann has 12 apples and buys 5 more. How many apples does Ann have now?"),
      h("p", { class: "answer" }, h("span", {}, "12+5=17"), h("b", {}, "17")),
    ),
    h(
      "ol",
      { class: "steps" },
      step("Look", `The model tries ${EMBEDDED_PROBLEMS} problems that it never trains on.`),
      step("Learn the format", "Supervised fine-tuning (SFT) teaches the format of an answer."),
      step("Learn correct answers", "Reinforcement learning (GRPO) lets the model try, and rewards correct answers."),
      step("Look again", "The same problems again, side by side with the first answers."),
    ),
  );
}

/** For a browser that cannot train. */
const RECORDED = { text: "Watch a recorded run", href: "#/recorded" };

function deviceSays(state: DeviceState): HTMLElement[] {
  if (state.state === "checking") return [h("p", { class: "about" }, "Looking for the GPU …")];
  if (state.state === "missing") {
    return [problemLine("error", { text: state.problem.text, todo: webgpuAdvice(), link: RECORDED })];
  }
  const { adapter, software, advice } = state.info;
  if (!software) return [h("p", { class: "about" }, `Runs on ${adapter}.`, advice && ` ${advice}`)];
  const todo = advice ?? "The embedded model is small enough for this adapter; larger models will take very long.";
  return [
    problemLine("info", {
      text: "There is no GPU here, so training runs on the CPU: it works, but slowly.",
      todo,
      link: null,
    }),
  ];
}

const METHODS: readonly { value: MethodChoice; title: string; about: string }[] = [
  { value: "both", title: "SFT, then GRPO", about: "Teach the format, then practise" },
  { value: "sft", title: "SFT", about: "Imitate the answers of the data" },
  { value: "grpo", title: "GRPO", about: "Try answers, and learn from rewards" },
  { value: "dpo", title: "DPO", about: "Learn to prefer the better of two answers" },
];

/** The choices before the user makes any: the embedded job, or SFT on rows of the user's documents. */
function draftFor(offer: Offer | null): Draft {
  const recipes = { sft: {}, grpo: {}, dpo: {} };
  if (offer) {
    const model: ModelSource = offer.model ?? { kind: "embedded" };
    return { name: "", model, data: null, method: "sft", recipes, evaluate: null };
  }
  const evaluate: Draft["evaluate"] = { data: { kind: "embedded", rows: "prompts" }, problems: EMBEDDED_PROBLEMS };
  return { name: "", model: { kind: "embedded" }, data: { kind: "embedded" }, method: "both", recipes, evaluate };
}

/** All choices, with the forecast and the start button beside them. */
async function own(
  app: App,
  signal: AbortSignal,
  presets: readonly Preset[],
  offer: Offer | null,
): Promise<HTMLElement> {
  const draft = draftFor(offer);
  const forms: Partial<Record<Method, RecipeForm>> = {};
  const said = h("div", { class: "said" });
  const train = h("button", { type: "submit", class: "primary wide", disabled: true }, "Train");
  const name = h("input", { type: "text", autocomplete: "off", maxlength: 80 });
  name.addEventListener("input", () => (draft.name = name.value));
  let planned: { job: Job; plan: JobPlan } | null = null;
  const download = downloader(app, signal, () => update());
  const plan = forecast(app, signal, (made) => {
    const job = currentJob();
    planned = made && typeof job !== "string" ? { job, plan: made } : null;
    train.disabled = planned === null || app.device.value.state !== "ready";
    download.offer(planned);
  });

  const currentJob = (): Job | string => {
    for (const method of METHODS_OF[draft.method]) {
      const recipe = forms[method]?.recipe;
      if (!recipe) return `The ${METHOD_NAMES[method]} recipe has an error; see the message beside the field.`;
      draft.recipes[method] = recipe;
    }
    return jobOf(draft);
  };
  const update = () => {
    if (draft.model && draft.data) name.placeholder = nameOf(draft.model, draft.data);
    plan.update(currentJob());
  };
  /** Combines simultaneous changes into one plan. */
  const updateSoon = settled(20, signal, update);

  const recipes = h("div", { class: "recipes" });
  const showRecipes = async () => {
    const methods = METHODS_OF[draft.method];
    for (const method of methods) {
      forms[method] ??= await recipeForm(app, method, draft.model?.kind ?? "hub", presets, signal, updateSoon);
    }
    fill(
      recipes,
      ...methods.map((method, i) => phaseRecipe(method, methods.length > 1 ? i + 1 : null, forms[method]!)),
    );
    updateSoon();
  };

  const heldOut = heldOutChoice(draft, updateSoon);
  const first = draft.model ?? undefined;
  const level = offer ? "h1" : "h2";
  const data = dataPicker(
    app,
    signal,
    (chosen) => {
      draft.data = chosen;
      heldOut.follow(chosen?.kind === "embedded" ? "embedded" : chosen?.kind === "hub" ? "gsm8k" : "none");
      updateSoon();
    },
    { file: offer?.file ?? null, method: draft.method },
  );
  const model = modelPicker(
    app,
    signal,
    (chosen: ModelSource | null) => {
      draft.model = chosen;
      if (chosen) for (const form of Object.values(forms)) form.setModel(chosen.kind);
      updateSoon();
    },
    first,
  );
  const methods = choice<MethodChoice>("Method", METHODS, draft.method, (value) => {
    draft.method = value;
    data.setMethod(value);
    void showRecipes();
  });
  await showRecipes();
  // a GPU that appears later, or returns, can train; what was gated may be open after signing in
  for (const cell of [app.device, app.token] as const) cell.watch(signal, () => updateSoon());

  const form = h(
    "form",
    { class: "own-form", "aria-labelledby": "own-title" },
    h(
      "div",
      { class: "choices" },
      part("Model", model, level),
      part("Data", data.element, level),
      part("Method", methods, level),
      part("Recipe", recipes, level),
      part("Held-out problems", heldOut.element, level),
    ),
    h(
      "aside",
      { class: "summary", "aria-labelledby": "summary-title" },
      h("h2", { id: "summary-title", tabindex: "-1" }, "Forecast"),
      plan.element,
      labelled("Name of the run", name),
      train,
      download.element,
      said,
      storageLine(app, signal),
    ),
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (!planned) return;
    train.disabled = true;
    try {
      await begin(app, { ...planned.job, name: draft.name.trim() || planned.job.name });
    } catch (error) {
      fill(said, problemLine("error", problemOf(error)));
      train.disabled = false;
    }
  });
  const title = { id: "own-title", class: "title" };
  const heading = h(level, title, offer ? "Train on your documents" : "Or choose for yourself");
  return h("section", { class: "own" }, heading, skipLinks(form), form);
}

/** @param number of the phase; null: it is the only one */
function phaseRecipe(method: Method, number: number | null, form: RecipeForm): HTMLElement {
  return h(
    "section",
    { class: "phase-recipe", "aria-label": `Recipe of ${METHOD_NAMES[method]}` },
    number !== null && h("h3", {}, `${number}. ${METHOD_NAMES[method]}`),
    form.element,
  );
}

type HeldOut = "embedded" | "gsm8k" | "none";

/** The evaluation problems and their number. Follows the choice of data until the user changes it. */
function heldOutChoice(draft: Draft, changed: () => void): { element: HTMLElement; follow(value: HeldOut): void } {
  let touched = false;
  const count = h("input", { type: "number", min: 1, max: 1000, value: EMBEDDED_PROBLEMS, inputmode: "numeric" });
  const number = labelled(
    "How many",
    count,
    "The model solves them before the first phase and after each phase. More problems take longer and measure more precisely.",
  );
  const list = select(
    [
      ["embedded", "Word problems"],
      ["gsm8k", "GSM8K, test split"],
      ["none", "None"],
    ],
    draft.evaluate ? "embedded" : "none",
    () => {
      touched = true;
      apply();
    },
  );
  const apply = () => {
    const problems = Math.max(1, Math.min(1000, Math.round(count.valueAsNumber) || EMBEDDED_PROBLEMS));
    number.hidden = list.value === "none";
    if (list.value === "none") draft.evaluate = null;
    else if (list.value === "gsm8k") draft.evaluate = { data: { ...GSM8K, split: "test" }, problems };
    else draft.evaluate = { data: { kind: "embedded", rows: "prompts" }, problems };
    changed();
  };
  count.addEventListener("change", apply);
  number.hidden = draft.evaluate === null;
  return {
    element: h("div", { class: "held-out" }, labelled("Problems", list), number),
    follow(value) {
      if (touched || list.value === value) return;
      list.value = value;
      apply();
    },
  };
}
