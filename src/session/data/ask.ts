import type { ReplyShape } from "../../data/documents/reply.ts";
import { Sha256 } from "../../io/sha256.ts";
import type { Folder } from "../../io/storage.ts";

/** A question to a model. */
export interface Question {
  prompt: string;
  shape: ReplyShape;
  /** most tokens of the reply */
  max_tokens: number;
  temperature: number;
  top_p: number;
}

/** A question with its number: which draws it gets. Equal questions with equal numbers have equal replies. */
export interface NumberedQuestion extends Question {
  /** u32 */
  number: number;
}

/** A reply as it arrives; `index` is the question's. */
export interface Reply {
  index: number;
  text: string;
  prompt_tokens: number;
  completion_tokens: number;
}

/** A model that answers questions: Qwench's own engine, or an endpoint. */
export interface Asker {
  /** everything, except the question itself, that replies depend on */
  readonly identity: Readonly<Record<string, unknown>>;
  /** yields replies in any order; leaving the loop ends the work */
  ask(questions: readonly NumberedQuestion[], signal: AbortSignal): AsyncIterable<Reply>;
}

/** Counts of one stage. */
export interface AskUsage {
  asked: number;
  /** replies that were on disk already */
  cached: number;
  prompt_tokens: number;
  completion_tokens: number;
  /** questions whose reply could not be read twice */
  unread: number;
}

const FILE = "replies.jsonl";
/** Times that a question is asked while its reply cannot be read. */
const ASKS = 2;

/**
 * Replies on disk, one line each with the question's key, written before the next question is asked. A line that a killed process
 * left incomplete is skipped.
 */
export class ReplyStore {
  readonly #folder: Folder;
  /** texts and whole lines by key */
  readonly #known = new Map<string, string>();
  readonly #lines = new Map<string, string>();

  private constructor(folder: Folder) {
    this.#folder = folder;
  }

  static async open(folder: Folder): Promise<ReplyStore> {
    const store = new ReplyStore(folder);
    if (!(await folder.exists(FILE))) return store;
    const text = await folder.readText(FILE).catch(async () => {
      // a killed process may have cut a character in two
      const file = await folder.open(FILE);
      return new TextDecoder().decode(await file.read(0, file.size));
    });
    for (const line of text.split("\n")) {
      try {
        const { key, text: reply } = JSON.parse(line);
        if (typeof key !== "string" || typeof reply !== "string") continue;
        store.#known.set(key, reply);
        store.#lines.set(key, `${line}\n`);
      } catch {}
    }
    if (text !== "" && !text.endsWith("\n")) await folder.append(FILE, "\n");
    return store;
  }

  get(key: string): string | null {
    return this.#known.get(key) ?? null;
  }

  async put(key: string, reply: Reply): Promise<void> {
    const { text, prompt_tokens, completion_tokens } = reply;
    const line = `${JSON.stringify({ key, text, prompt_tokens, completion_tokens })}\n`;
    await this.#folder.append(FILE, line);
    this.#known.set(key, text);
    this.#lines.set(key, line);
  }

  /** Rewrites the file in the order of keys: its bytes then do not depend on when replies came. */
  async settle(): Promise<void> {
    const keys = [...this.#lines.keys()].sort();
    await this.#folder.write(FILE, keys.map((key) => this.#lines.get(key)!).join(""));
  }
}

/** What {@link askAll} found for a question. */
export interface Answered<T> {
  /** null: no reply could be read */
  value: T | null;
  /** the replies that could not be read */
  unread: string[];
}

export interface AskContext {
  asker: Asker;
  store: ReplyStore;
  signal: AbortSignal;
  usage: AskUsage;
  /** called at the beginning and after each reply, with the number of questions that have ended */
  onReply?: (done: number, total: number, reply: string | null) => void;
}

/**
 * Asks all questions whose replies are not on disk. A reply that cannot be read is asked for once more, then kept aside.
 *
 * @param read a reply's content, or null if it cannot be read; `last` on the last attempt
 * @returns one entry per question, in order; it depends on the replies only, not on when they came
 */
export async function askAll<T>(
  questions: readonly Question[],
  { asker, store, signal, usage, onReply }: AskContext,
  read: (reply: string, index: number, last: boolean) => T | null,
): Promise<Answered<T>[]> {
  const results = questions.map((): Answered<T> => ({ value: null, unread: [] }));
  let open = questions.map((_, i) => i);
  let done = 0;
  for (let ask = 0; ask < ASKS && open.length > 0; ask++) {
    const keys = new Map(open.map((i) => [i, keyOf(asker.identity, questions[i], ask)]));
    const missing = open.filter((i) => store.get(keys.get(i)!) === null);
    usage.cached += open.length - missing.length;
    done = questions.length - open.length + open.length - missing.length;
    if (missing.length > 0) {
      const numbered = missing.map((i) => ({ ...questions[i], number: numberOf(keys.get(i)!) }));
      onReply?.(done, questions.length, null);
      for await (const reply of asker.ask(numbered, signal)) {
        await store.put(keys.get(missing[reply.index])!, reply);
        usage.asked++;
        usage.prompt_tokens += reply.prompt_tokens;
        usage.completion_tokens += reply.completion_tokens;
        onReply?.(++done, questions.length, reply.text);
      }
    }
    const again: number[] = [];
    for (const i of open) {
      const reply = store.get(keys.get(i)!)!;
      const value = read(reply, i, ask === ASKS - 1);
      if (value !== null) results[i].value = value;
      else {
        results[i].unread.push(reply);
        again.push(i);
      }
    }
    open = again;
  }
  usage.unread += open.length;
  if (questions.length > 0) await store.settle();
  return results;
}

/** The key of a question's reply: a hash of everything that it depends on. */
function keyOf(identity: Asker["identity"], question: Question, ask: number): string {
  return new Sha256().update(new TextEncoder().encode(JSON.stringify([identity, question, ask]))).hex();
}

const numberOf = (key: string): number => Number.parseInt(key.slice(0, 8), 16);

export const noUsage = (): AskUsage => ({ asked: 0, cached: 0, prompt_tokens: 0, completion_tokens: 0, unread: 0 });
