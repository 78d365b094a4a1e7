import { existsSync } from "node:fs";
import { basename, dirname, resolve } from "node:path";
import { AbortError, QwenchError, UnsupportedError } from "../../errors.ts";
import type { HubOptions } from "../../io/hub/hub.ts";
import { nodeFile, nodeFolder } from "../../platform/node/fs.ts";
import { nearestName } from "../../recipe/recipe.ts";
import { AdapterSwitch, answerTo, type ChatImage, Conversation } from "../../session/chat.ts";
import { loadText, type PreparedText, settingsOf, type TextModel, type TextSettings } from "../../session/generate.ts";
import { Images } from "../../session/images.ts";
import { type CliFlag, type ParsedArgs, UsageError } from "../args.ts";
import {
  askedSettings,
  MODEL_FLAGS,
  numberOf,
  SETTING_FLAGS,
  SETTINGS,
  type Setting,
  stopsOf,
  textOf,
} from "../flags/text-flags.ts";
import { imageAccess } from "../sources/node-host.ts";
import { openModelFolder } from "../sources/sources.ts";
import { modelRequest, openText } from "../sources/text-model.ts";
import { EXIT_INTERRUPTED } from "../terminal/interrupt.ts";
import { pipedLines, typedLines } from "../terminal/lines.ts";
import { plainText } from "../terminal/plain-text.ts";
import { statusLine } from "../terminal/status-line.ts";

export const CHAT_FLAGS: CliFlag[] = [
  ...SETTING_FLAGS,
  {
    name: "seed",
    type: "string",
    value: "INT",
    help: "Seed of the draws (default: a new one for each chat). The same seed gives the same answers.",
  },
  {
    name: "image",
    type: "list",
    value: "FILE",
    help: "A PNG, JPEG or WebP file that the first message is about. You can give it several times; /image FILE adds one to the next message.",
  },
  ...MODEL_FLAGS,
];

/** Milliseconds between two text events. */
const PACE = 100;

/** The input and output of a chat. */
interface ChatIo {
  lines: AsyncIterable<string>;
  /** receives the model's text */
  say(text: string): void;
  /** receives Qwench's messages */
  note(text: string): void;
  /** creates a signal for one answer; Ctrl-C stops only that answer */
  answering(): { signal: AbortSignal; done(): void };
}

/** `qwench chat`: a conversation in the terminal, or with the lines of a pipe. @returns the exit code */
export async function runChat({ positional, flags }: ParsedArgs): Promise<number> {
  if (positional.length > 0) throw new UsageError(`qwench chat takes no arguments, got ${positional.join(" ")}`);
  const request = modelRequest(flags);
  const [asked, stop] = [askedSettings(flags), stopsOf(flags)];
  const typed = process.stdin.isTTY === true && process.stdout.isTTY === true;
  const paint = (code: number, text: string) =>
    process.stdout.isTTY && !process.env.NO_COLOR ? `\u001b[${code}m${text}\u001b[0m` : text;
  let code = 0;
  let abort: AbortController | null = new AbortController();
  const onInterrupt = () => {
    if (!abort || abort.signal.aborted) process.exit(EXIT_INTERRUPTED);
    abort.abort(new AbortError("Interrupted"));
  };
  process.on("SIGINT", onInterrupt);
  try {
    const status = statusLine();
    const { prepared, sources, hub } = await openText(request, abort.signal, status);
    const images = await Images.open(imageAccess(), prepared.checkpoint, prepared.config);
    const files = Array.isArray(flags.image) ? flags.image : [];
    if (files.length > 0 && !images) {
      throw new UnsupportedError("Cannot use --image: the model has no vision tower");
    }
    const text = await loadText(prepared, { ...sources, vision: images !== null && holdsTower(prepared) });
    status(null);
    const seed = Math.floor(Math.random() * 2 ** 32);
    const settings = settingsOf(prepared.defaults, asked, seed);
    abort = null;
    const note = (line: string) => console.error(typed ? paint(2, line) : line);
    if (typed) note(`${sources.model.path}: /help lists the commands, Ctrl-C stops an answer, Ctrl-D ends.`);
    const ended = () => {
      code = EXIT_INTERRUPTED;
    };
    const io: ChatIo = {
      lines: typed ? typedLines(process.stdin, process.stdout, paint(36, "> "), ended) : pipedLines(process.stdin),
      say: (words) => void process.stdout.write(words),
      note,
      answering() {
        const own = new AbortController();
        abort = own;
        const done = () => {
          abort = null;
        };
        return { signal: own.signal, done };
      },
    };
    const chat = new Chat(text, io, { settings, stop, system: textOf(flags, "system"), hub, images });
    for (const file of files) await chat.look(file);
    const failed = await chat.run();
    return code || (failed && !typed ? 1 : 0);
  } finally {
    process.off("SIGINT", onInterrupt);
  }
}

interface ChatOptions {
  settings: TextSettings;
  stop: string[];
  system: string | null;
  hub: HubOptions;
  /** reads images; null or absent: the model sees none */
  images?: Images | null;
}

/** Whether a checkpoint has the weights of its model's tower. */
function holdsTower({ checkpoint }: PreparedText): boolean {
  return [...checkpoint.weights.keys()].some((name) => name.startsWith("model.visual."));
}

/** A conversation and its commands. */
export class Chat {
  private readonly text: TextModel;
  private readonly io: ChatIo;
  private readonly options: ChatOptions;
  /** of the model with its adapter, and without: neither sees the other's answers */
  private readonly histories: { on: Conversation; off: Conversation };
  private readonly adapter: AdapterSwitch;
  /** both answer each message */
  private comparing = false;
  /** images of the next message */
  private waiting: ChatImage[] = [];
  private answers = 0;
  /** files written by this chat, which it may overwrite */
  private readonly saved = new Set<string>();

  constructor(text: TextModel, io: ChatIo, options: ChatOptions) {
    this.text = text;
    this.io = io;
    this.options = options;
    this.histories = { on: new Conversation(text, options.system), off: new Conversation(text, options.system) };
    this.adapter = new AdapterSwitch(text);
  }

  /** The history of the model as it is now. */
  private get conversation(): Conversation {
    return this.histories[this.adapter.on ? "on" : "off"];
  }

  /** Handles input line by line. @returns whether a line failed */
  async run(): Promise<boolean> {
    let failed = false;
    for await (const line of this.io.lines) {
      if (line.trim() === "") continue;
      try {
        if (line.startsWith("/")) {
          if (/^\/(exit|quit|bye)\s*$/.test(line)) break;
          await this.obey(line);
        } else if (this.comparing) await this.compare(line);
        else await this.answer(line, this.take());
      } catch (error) {
        if (!(error instanceof QwenchError)) throw error;
        this.io.note(error.message);
        failed = true;
      }
    }
    return failed;
  }

  /**
   * Adds an image to the next message.
   *
   * @throws {UnsupportedError} the model sees no images; {DataError} the file is no image that can be read
   */
  async look(file: string): Promise<void> {
    const { images } = this.options;
    if (!images || !this.text.model.tower)
      throw new UnsupportedError("Cannot see an image: the model has no vision tower");
    const source = await nodeFile(file);
    const bytes = await source.read(0, source.size);
    const messages = [{ role: "user", content: [{ type: "image", bytes }] }];
    const row = await images.row({ row: { messages }, number: this.waiting.length + 1, file });
    this.waiting.push(...row.images!.map((image) => ({ name: file, image })));
  }

  /** The images of the next message, which then has none. */
  private take(): ChatImage[] {
    const taken = this.waiting;
    this.waiting = [];
    return taken;
  }

  /** Has the model without its adapter answer, then with it, each from its own history. An answer that is stopped ends both. */
  private async compare(line: string): Promise<void> {
    const { adapter, io } = this;
    const [was, images] = [adapter.on, this.take()];
    try {
      for (const on of [false, true]) {
        adapter.turn(on);
        io.note(on ? "With the adapter:" : "Without the adapter:");
        if (!(await this.answer(line, images))) break;
      }
    } finally {
      adapter.turn(was);
    }
  }

  /** @returns whether the answer was not stopped */
  private async answer(line: string, about: readonly ChatImage[]): Promise<boolean> {
    const { settings, stop, images } = this.options;
    const { conversation } = this;
    const { ids, gone } = conversation.ask(line, settings.max_new_tokens, about);
    if (gone > 0) {
      const { max_position_embeddings: most } = this.text.config;
      this.io.note(`Dropped the oldest ${gone} turns: the model has ${most} positions.`);
    }
    const { signal, done } = this.io.answering();
    let said = "";
    let why = "";
    try {
      const seen = images ? await images.seen(this.text.model, { images: conversation.images }) : null;
      const options = { ...settings, number: this.answers++, stop, pace: PACE, signal, images: seen };
      for await (const event of answerTo(this.text, ids, options)) {
        if (event.type === "text") {
          said += event.text;
          this.io.say(plainText(event.text));
        } else if (event.finish_reason === "length") why = `cut after ${event.tokens} tokens`;
      }
    } catch (error) {
      if (!(error instanceof AbortError)) throw error;
      why = "stopped";
    } finally {
      done();
      conversation.answer(said);
    }
    if (!said.endsWith("\n")) this.io.say("\n");
    if (why) this.io.note(`(${why})`);
    return why !== "stopped";
  }

  private async obey(line: string): Promise<void> {
    const [, name, value] = /^\/(\S*)\s*([\s\S]*?)\s*$/.exec(line)!;
    const { io } = this;
    const both = Object.values(this.histories);
    if (name === "help") io.note(this.help());
    else if (name === "reset") {
      for (const history of both) history.turns = [];
      io.note("Dropped all turns; the system message stays.");
    } else if (name === "system") {
      for (const history of both) history.system = value === "" ? null : value;
      io.note(value === "" ? "No system message from now on." : "Changed the system message; earlier turns stay.");
    } else if (name === "adapter") await this.swap(value);
    else if (name === "compare") this.setCompare(value);
    else if (name === "save") await this.save(value);
    else if (name === "image") {
      await this.look(value);
      io.note(`The next message is about ${value}.`);
    } else if (Object.hasOwn(SETTINGS, name)) this.set(name as Setting, value);
    else {
      const near = nearestName(name, [
        "help",
        "reset",
        "system",
        "adapter",
        "compare",
        "image",
        "save",
        "exit",
        ...Object.keys(SETTINGS),
      ]);
      throw new UsageError(
        `There is no command /${name}${near ? `: did you mean /${near}?` : ""} /help lists the commands.`,
      );
    }
  }

  private set(name: Setting, value: string): void {
    const { settings } = this.options;
    if (value !== "") settings[name] = numberOf(`/${name}`, value, SETTINGS[name]);
    this.io.note(`${name} is ${settings[name]}`);
  }

  /** Switches the adapter on or off, loads another, or prints the current state. */
  private async swap(value: string): Promise<void> {
    const { adapter } = this;
    if (value === "on" && !adapter.present)
      throw new UsageError("There is no adapter to switch on: name one with /adapter PATH");
    if (value === "off" || value === "on") adapter.turn(value === "on");
    else if (value !== "") {
      await adapter.put(await openModelFolder(value, "main", this.options.hub));
      this.histories.on.turns = []; // another adapter has answered nothing
    }
    const { length } = this.conversation.turns;
    const history = length > 0 ? ` It has its own history of ${length} turns.` : "";
    this.io.note(adapter.present ? `The adapter is ${adapter.on ? "on" : "off"}.${history}` : "There is no adapter.");
  }

  /** Begins or ends comparing. */
  private setCompare(value: string): void {
    if (!["", "on", "off"].includes(value)) throw new UsageError(`/compare is on or off, not ${value}`);
    if (!this.adapter.present) throw new UsageError("There is nothing to compare: name an adapter with /adapter PATH");
    this.comparing = value === "" ? !this.comparing : value === "on";
    this.io.note(
      this.comparing ? "Each message is answered without the adapter, then with it." : "One answer for each message.",
    );
  }

  /** The conversation as a row that `qwench sft` can learn from. */
  private async save(file: string): Promise<void> {
    if (file === "") throw new UsageError("/save needs a file name");
    const { turns } = this.conversation;
    // an image is a part that names its file
    const messages = this.conversation.messages.map(({ role, content, images = [] }) =>
      images.length === 0
        ? { role, content }
        : {
            role,
            content: [...images.map(({ name }) => ({ type: "image", image: name })), { type: "text", text: content }],
          },
    );
    if (turns.length === 0) throw new UsageError("There is nothing to save yet");
    const path = resolve(file);
    if (existsSync(path) && !this.saved.has(path)) throw new UsageError(`${file} exists: use /save with another name`);
    await nodeFolder(dirname(path)).write(basename(path), `${JSON.stringify({ messages })}\n`);
    this.saved.add(path);
    this.io.note(`Saved ${turns.length} turns: ${file}`);
  }

  private help(): string {
    const { settings } = this.options;
    const rows = [
      ["/reset", "drop all turns"],
      ["/system TEXT", "change the system message; without TEXT, none"],
      ["/adapter on|off|PATH", "switch the adapter on or off, or load another; each has its own history"],
      ["/compare on|off", "answer each message without the adapter and with it"],
      ...(Object.keys(SETTINGS) as Setting[]).map((name) => [`/${name} NUMBER`, `now ${settings[name]}`]),
      ...(this.text.model.tower ? [["/image FILE", "the next message is about this image; several are allowed"]] : []),
      ["/save FILE", "write the conversation as a JSONL row"],
      ["/exit", "end"],
    ];
    return rows.map(([command, what]) => `${command.padEnd(28)}${what}`).join("\n");
  }
}
