import type { Job, JobPlan, Method, ModelSource, Preset } from "../../src/client/types.ts";
import { METHOD_NAMES } from "../../src/report/names.ts";
import type { App, Offer } from "../app.ts";
import { settled } from "../cell.ts";
import type { SeenAs } from "../data/seen.ts";
import { fill, h } from "../dom.ts";
import { draftActions } from "../draft/actions.ts";
import type { MissingFiles } from "../draft/kept.ts";
import { trainBar } from "../forecast/bar.ts";
import { forecast } from "../forecast/view.ts";
import { type Draft, dataFor, EMBEDDED_PROBLEMS, jobOf, METHODS_OF, type MethodChoice, nameOf } from "../jobs.ts";
import { choice, labelled } from "../parts/choice.ts";
import { dataPicker } from "../parts/data-picker.ts";
import { downloader } from "../parts/downloader.ts";
import { modelPicker } from "../parts/model-picker.ts";
import { problemLine } from "../parts/notice.ts";
import { part } from "../parts/part.ts";
import { type RecipeForm, recipeForm } from "../parts/recipe-form.ts";
import { skipLinks } from "../parts/skip-links.ts";
import { storageLine } from "../parts/storage-line.ts";
import { unfinished } from "../parts/unfinished.ts";
import { problemOf } from "../problems.ts";
import { begin } from "../start/begin.ts";
import { heldOutChoice } from "../start/held-out.ts";
import { hero } from "../start/hero.ts";
import type { View } from "./view.ts";

/** The first page: buttons that train immediately, and all choices below them. */
export async function startView(app: App, signal: AbortSignal): Promise<View> {
  const presets = await app.trainer.recipe.presets();
  const { offer } = app;
  app.offer = null;
  const missing = await takeDraft(app, offer);
  const element = h(
    "div",
    { class: "view start" },
    unfinished(app, signal),
    offer === null && hero(app, signal, presets),
    Object.keys(missing).length > 0 &&
      problemLine("info", {
        text: `Choose ${Object.values(missing).join(" and ")} again: the browser did not keep the files.`,
        todo: null,
        link: null,
      }),
    await own(app, signal, presets, { ...offer, missing }),
  );
  return { title: "Train", element };
}

const METHODS: readonly { value: MethodChoice; title: string; about: string }[] = [
  { value: "both", title: "SFT, then GRPO", about: "Teach the format, then practise" },
  { value: "sft", title: "SFT", about: "Imitate the answers of the data" },
  { value: "grpo", title: "GRPO", about: "Try answers, and learn from rewards" },
  { value: "dpo", title: "DPO", about: "Learn to prefer the better of two answers" },
];

/** Sets the draft that the view begins with. @returns files that the browser did not keep */
async function takeDraft(app: App, offer: Offer | null): Promise<MissingFiles> {
  if (offer) app.draft = draftFor(offer);
  if (app.draft) return {};
  const found = await app.drafts.load();
  app.draft = found?.draft ?? draftFor(null);
  return found?.missing ?? {};
}

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

/** The recipe forms of a draft, made when their method is chosen. */
class RecipeForms {
  readonly element = h("div", { class: "recipes" });
  readonly #forms: Partial<Record<Method, RecipeForm>> = {};
  readonly #make: (method: Method) => Promise<RecipeForm>;
  readonly #draft: Draft;

  constructor(draft: Draft, make: (method: Method) => Promise<RecipeForm>) {
    this.#draft = draft;
    this.#make = make;
  }

  async show(): Promise<void> {
    const methods = METHODS_OF[this.#draft.method];
    for (const method of methods) this.#forms[method] ??= await this.#make(method);
    fill(
      this.element,
      ...methods.map((method, i) => phaseRecipe(method, methods.length > 1 ? i + 1 : null, this.#forms[method]!)),
    );
  }

  setModel(kind: ModelSource["kind"]): void {
    for (const form of Object.values(this.#forms)) form.setModel(kind);
  }

  change(phase: number, fields: Record<string, unknown>): void {
    this.#forms[METHODS_OF[this.#draft.method][phase]]?.change(fields);
  }

  /** How the first phase sees rows; null: there is no model, or the recipe has an error. */
  seen(): SeenAs | null {
    const { model, method } = this.#draft;
    const [first] = METHODS_OF[method];
    const recipe = this.#forms[first]?.recipe;
    return model && recipe ? { model, method: first, recipe } : null;
  }

  /** The job, or what is missing. Takes the forms' fields into the draft. */
  job(): Job | string {
    const draft = this.#draft;
    for (const [method, form] of Object.entries(this.#forms)) draft.forms = { ...draft.forms, [method]: form.kept() };
    for (const method of METHODS_OF[draft.method]) {
      const form = this.#forms[method];
      if (form) form.data = draft.data && dataFor(draft.data, method);
      const recipe = form?.recipe;
      if (!recipe) return `The ${METHOD_NAMES[method]} recipe has an error; see the message beside the field.`;
      draft.recipes[method] = recipe;
    }
    return jobOf(draft);
  }
}

/** All choices, with the forecast and the start button beside them. */
async function own(
  app: App,
  signal: AbortSignal,
  presets: readonly Preset[],
  { file: offered = null, missing }: { file?: File | null; missing: MissingFiles },
): Promise<HTMLElement> {
  const draft = app.draft!;
  // the pickers show their first choice where a link left one out
  if (!draft.model && missing.model === undefined) draft.model = { kind: "embedded" };
  if (!draft.data && missing.data === undefined && !offered) draft.data = { kind: "embedded" };
  const recipes = new RecipeForms(draft, (method) => {
    const begin = { model: draft.model?.kind ?? "hub", kept: draft.forms?.[method] };
    return recipeForm(app, method, begin, presets, signal, () => updateSoon());
  });
  const update = () => {
    if (draft.model && draft.data) summary.suggest(nameOf(draft.model, draft.data));
    const job = recipes.job();
    if (!signal.aborted && app.draft === draft) app.drafts.save(draft);
    summary.update(job);
  };
  /** Combines simultaneous changes into one plan. */
  const updateSoon = settled(10, signal, update);
  const summary = summaryOf(app, signal, draft, recipes, update);
  const heldOut = heldOutChoice(draft, updateSoon);
  const level = offered ? "h1" : "h2";
  const data = dataPicker(
    app,
    signal,
    (chosen) => {
      draft.data = chosen;
      heldOut.follow(chosen?.kind === "embedded" ? "embedded" : chosen?.kind === "hub" ? "gsm8k" : "none");
      updateSoon();
    },
    {
      file: offered,
      method: draft.method,
      data: draft.data,
      lost: missing.data !== undefined,
      as: () => recipes.seen(),
    },
  );
  const model = modelPicker(
    app,
    signal,
    (chosen: ModelSource | null) => {
      draft.model = chosen;
      if (chosen) recipes.setModel(chosen.kind);
      updateSoon();
    },
    draft.model ?? { kind: "files", name: missing.model!, files: [] },
  );
  const methods = choice<MethodChoice>("Method", METHODS, draft.method, (value) => {
    draft.method = value;
    data.setMethod(value);
    void recipes.show().then(updateSoon);
  });
  await recipes.show();
  // a GPU that appears later, or returns, can train; what was gated may be open after signing in
  for (const cell of [app.device, app.token] as const) cell.watch(signal, () => updateSoon());

  const form: HTMLFormElement = h(
    "form",
    { class: "own-form", "aria-labelledby": "own-title" },
    h(
      "div",
      { class: "choices" },
      part("Model", model, level),
      part("Data", data.element, level),
      part("Method", methods, level),
      part("Recipe", recipes.element, level),
      part("Held-out problems", heldOut.element, level),
    ),
    summary.element,
    summary.bar,
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    void summary.start();
  });
  const title = { id: "own-title", class: "title" };
  const heading = h(level, title, offered ? "Train on your documents" : "Or choose for yourself");
  const actions = draftActions(app, draft, () => METHODS_OF[draft.method]);
  return h("section", { class: "own" }, h("div", { class: "own-heading" }, heading, actions), skipLinks(form), form);
}

/** The forecast, the run's name and the start button. */
interface Summary {
  element: HTMLElement;
  /** for the bottom of a narrow window */
  bar: HTMLElement;
  update(job: Job | string): void;
  suggest(name: string): void;
  start(): Promise<void>;
}

function summaryOf(app: App, signal: AbortSignal, draft: Draft, recipes: RecipeForms, update: () => void): Summary {
  const said = h("div", { class: "said" });
  const train = h("button", { type: "submit", class: "primary wide", disabled: true }, "Train");
  const name = h("input", { type: "text", autocomplete: "off", maxlength: 80, value: draft.name });
  name.addEventListener("input", () => {
    draft.name = name.value;
    app.drafts.save(draft);
  });
  let job: Job | string = "";
  let planned: { job: Job; plan: JobPlan } | null = null;
  const download = downloader(app, signal, update);
  const start = async () => {
    if (!planned || train.disabled) return;
    train.disabled = true;
    try {
      await begin(app, { ...planned.job, name: draft.name.trim() || planned.job.name }, planned.plan);
    } catch (error) {
      fill(said, problemLine("error", problemOf(error)));
      train.disabled = false;
    }
  };
  const bar = trainBar(() => void start());
  const plan = forecast(app, signal, {
    shown(state) {
      bar.show(state);
      if (state.state === "ready" && state.what === null && state.plan.time) app.measured.value++;
    },
    ready(made) {
      planned = made && typeof job !== "string" ? { job, plan: made } : null;
      train.disabled = planned === null || app.device.value.state !== "ready";
      bar.enable(!train.disabled);
      download.offer(planned);
    },
    apply: ({ phase, fields }) => recipes.change(phase, fields),
  });
  const element = h(
    "aside",
    { class: "summary", "aria-labelledby": "summary-title" },
    h("h2", { id: "summary-title", tabindex: "-1" }, "Forecast"),
    plan.element,
    labelled("Name of the run", name),
    train,
    download.element,
    said,
    storageLine(app, signal),
  );
  return {
    element,
    bar: bar.element,
    start,
    suggest: (text) => {
      name.placeholder = text;
    },
    update(next) {
      job = next;
      plan.update(next);
    },
  };
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
