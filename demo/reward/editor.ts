import type { RewardInput } from "../../src/client/types.ts";
import { messageOf } from "../../src/text/show.ts";
import type { App } from "../app.ts";
import { fill, h, setIdle, uid } from "../dom.ts";
import { labelled, select } from "../parts/choice.ts";
import { confirm } from "../parts/dialog.ts";
import { saveFile } from "../save-file.ts";
import { lastBatch } from "./batches.ts";
import { codeArea } from "./code-area.ts";
import { EXAMPLES, SIGNATURE } from "./examples.ts";
import { rewardSandbox } from "./lazy.ts";
import { dropModule, freeName, keepDraft, keepModule, rewardDraft, type ShelfModule, shelf } from "./shelf.ts";
import { trialTable } from "./table.ts";
import { tryModule } from "./trial.ts";

/** Rows of the data that a trial takes. */
export const TRIAL_ROWS = 8;

/** Where the editor finds completions for a trial. */
export interface TrialSource {
  /** the first rows of the chosen data. @throws a problem for the user */
  rows(): Promise<RewardInput>;
}

/**
 * Edits a module of reward functions in a dialog.
 *
 * @param name of a kept module; null: a new one
 * @returns the module that was kept, `removed`, or null if nothing changed
 */
export function editReward(
  app: App,
  name: string | null,
  source: TrialSource,
): Promise<ShelfModule | "removed" | null> {
  return new Editor(app, name, source).outcome;
}

const plain = (text: string, className = "secondary") => h("button", { type: "button", class: className }, text);

class Editor {
  readonly outcome: Promise<ShelfModule | "removed" | null>;
  readonly #app: App;
  readonly #source: TrialSource;
  readonly #kept: ShelfModule | null;
  readonly #first: ShelfModule;
  readonly #fault = h("p", { class: "wrong", role: "alert" });
  readonly #said = h("p", { class: "about", role: "status" });
  readonly #results = h("div", { class: "trial" });
  readonly #file: HTMLInputElement;
  readonly #code = codeArea("Code", () => {
    fill(this.#fault);
    this.#keepDraft();
  });
  readonly #dialog: HTMLDialogElement;
  #made: ShelfModule | "removed" | null = null;
  /** completions of the last trial, as the user changed them */
  #input: RewardInput | null = null;
  #busy = false;

  constructor(app: App, name: string | null, source: TrialSource) {
    this.#app = app;
    this.#source = source;
    this.#kept = shelf().find((module) => module.name === name) ?? null;
    this.#first = this.#kept ?? { name: name ?? freeName(), text: EXAMPLES[0].text, functions: [] };
    const spelled = { type: "text", spellcheck: "false", autocomplete: "off", maxlength: 60 };
    this.#file = h("input", { ...spelled, value: this.#first.name });
    this.#code.set(this.#first.text);
    const draft = rewardDraft(name);
    if (draft) {
      this.#file.value = draft.name;
      this.#code.set(draft.text);
      fill(this.#said, "This is what you had not saved.");
    }
    this.#file.addEventListener("input", () => this.#keepDraft());
    this.#dialog = this.#build();
    this.#dialog.addEventListener("cancel", (event) => {
      event.preventDefault(); // Escape must not lose the code
      void this.#leave();
    });
    document.body.append(this.#dialog);
    this.#dialog.showModal();
    this.#code.area.focus();
    // another view of the page: the draft is kept
    const leave = () => this.#dialog.close();
    addEventListener("hashchange", leave);
    this.outcome = new Promise((done) => {
      this.#dialog.addEventListener("close", () => {
        removeEventListener("hashchange", leave);
        this.#dialog.remove();
        done(this.#made);
      });
    });
  }

  #keepDraft(): void {
    keepDraft({ of: this.#kept?.name ?? null, ...this.#module });
  }

  get #module() {
    return { name: this.#file.value.trim(), text: this.#code.area.value };
  }

  #build(): HTMLDialogElement {
    const title = uid("reward-title");
    const act = (text: string, handler: () => void, className?: string) => {
      const button = plain(text, className);
      button.addEventListener("click", handler);
      return button;
    };
    return h(
      "dialog",
      { class: "reward-editor", "aria-labelledby": title },
      h("h2", { id: title }, this.#kept ? `Your reward ${this.#first.name}` : "A reward of your own"),
      h(
        "div",
        { class: "editing" },
        h(
          "div",
          { class: "own-code" },
          h(
            "div",
            { class: "fields" },
            labelled("File", this.#file),
            labelled("Begin with an example", this.#examples()),
          ),
          this.#code.element,
          this.#fault,
        ),
        note(),
      ),
      h(
        "div",
        { class: "actions try" },
        this.#trial(`Try on ${TRIAL_ROWS} rows`, () => this.#source.rows()),
        this.#trial("On the last batch", async () => {
          const found = await lastBatch(this.#app);
          return found?.input ?? "No run here has drawn completions yet.";
        }),
        this.#said,
      ),
      this.#results,
      h(
        "div",
        { class: "actions end" },
        act("Save", () => void this.#save(), "primary"),
        act("Download", () => this.#download()),
        this.#kept && act("Delete", () => void this.#delete()),
        act("Cancel", () => void this.#leave()),
      ),
    );
  }

  #examples(): HTMLSelectElement {
    const titles = EXAMPLES.map(({ title }, i) => [String(i), title] as const);
    const list = select([["", "Choose …"] as const, ...titles], "", async (value) => {
      list.value = "";
      if (value === "") return;
      const own = EXAMPLES.every(({ text }) => text !== this.#code.area.value);
      const detail = "The example takes the place of what you wrote.";
      if (own && !(await confirm("Replace the code?", detail, "Replace"))) return;
      this.#code.set(EXAMPLES[Number(value)].text);
      this.#keepDraft();
      fill(this.#fault);
    });
    return list;
  }

  /** A button that scores completions. @param take gives them, or says why there are none */
  #trial(text: string, take: () => Promise<RewardInput | string>): HTMLButtonElement {
    const button = plain(text);
    button.addEventListener("click", async () => {
      if (this.#busy) return;
      this.#busy = true;
      setIdle(button, true);
      try {
        const taken = await take();
        if (typeof taken === "string") fill(this.#said, taken);
        else await this.#score(taken);
      } catch (error) {
        fill(this.#said);
        fill(this.#fault, messageOf(error));
      }
      this.#busy = false;
      setIdle(button, false);
    });
    return button;
  }

  async #score(input: RewardInput): Promise<void> {
    this.#input = input;
    const trial = await tryModule(rewardSandbox, this.#module, input);
    if (this.#input !== input) return;
    const { fault, ms } = trial;
    this.#code.mark(fault?.line ?? null);
    fill(this.#fault, fault && `${fault.line ? `Line ${fault.line}: ` : ""}${fault.text}.`);
    fill(
      this.#results,
      trialTable(input, trial, (edited) => void this.#score(edited)),
    );
    fill(this.#said, !fault && `${input.completions.length} completions scored in ${Math.ceil(ms)} ms.`);
  }

  async #save(): Promise<void> {
    if (this.#busy) return;
    const module = this.#module;
    const wrong = nameFault(module.name, this.#kept?.name ?? null);
    if (wrong) {
      fill(this.#fault, wrong);
      return this.#file.focus();
    }
    this.#busy = true;
    try {
      const functions = await functionsOf(module);
      if (functions.length === 0) return fill(this.#fault, "There is no exported function: write export before it.");
      this.#keep({ ...module, functions });
    } catch (error) {
      const { name, message, line } = error as Error & { line?: number | null };
      this.#code.mark(line ?? null);
      fill(this.#fault, `${line ? `Line ${line}: ` : ""}${name}: ${message}. Nothing was saved.`);
      this.#code.area.focus();
    } finally {
      this.#busy = false;
    }
  }

  #keep(module: ShelfModule): void {
    try {
      keepModule(module);
      if (this.#kept && this.#kept.name !== module.name) dropModule(this.#kept.name);
      this.#made = module;
      this.#end();
    } catch (error) {
      fill(this.#fault, `The browser cannot keep it (${messageOf(error)}). Download it instead.`);
    }
  }

  #download(): void {
    const { name, text } = this.#module;
    saveFile({ name: name || this.#first.name, blob: new Blob([text], { type: "text/javascript" }) });
  }

  async #delete(): Promise<void> {
    const { name } = this.#first;
    if (!(await confirm(`Delete ${name}?`, "Runs that used it keep their own copy.", "Delete"))) return;
    dropModule(name);
    this.#made = "removed";
    this.#end();
  }

  async #leave(): Promise<void> {
    const { name, text } = this.#module;
    const same = name === this.#first.name && text === this.#first.text;
    const detail = "What you wrote since the last save is lost.";
    if (same || (await confirm("Leave without saving?", detail, "Leave"))) this.#end();
  }

  #end(): void {
    keepDraft(null);
    this.#dialog.close();
  }
}

/** What a reward is, beside the code. */
function note(): HTMLElement {
  return h(
    "aside",
    { class: "reward-note", "aria-label": "What a reward function gets" },
    h("pre", { tabindex: "0" }, SIGNATURE),
    h(
      "ul",
      {},
      h(
        "li",
        {},
        "The same signature as TRL's and the command line's: this file also works as ",
        h("code", {}, "reward_funcs"),
        " there.",
      ),
      h("li", {}, h("code", {}, "completions[i][0].content"), " is what the model wrote."),
      h("li", {}, h("code", {}, "columns.answer[i]"), " is the column “answer” of its row."),
      h("li", {}, "Return a number for each completion, or null if the function does not apply."),
      h("li", {}, "It runs in a sandbox: no network, no storage, no page. One that does not return is ended."),
    ),
  );
}

/** Why a file cannot have this name, or null. */
function nameFault(name: string, own: string | null): string | null {
  if (!/^[\w.-]+\.m?js$/.test(name)) return "The file's name needs letters, digits, - or _, and ends in .mjs.";
  if (name !== own && shelf().some((module) => module.name === name)) return `There is already a reward ${name}.`;
  return null;
}

/** The names of a module's functions. @throws what it throws */
async function functionsOf(module: { name: string; text: string }): Promise<string[]> {
  const { id, exports } = await rewardSandbox.open(module);
  await rewardSandbox.end(id);
  return exports.filter(({ kind }) => kind === "function").map((item) => item.export);
}
