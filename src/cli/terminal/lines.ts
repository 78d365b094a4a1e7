import { createInterface } from "node:readline";
import type { ReadStream, WriteStream } from "node:tty";

/** Lines of a pipe or a file, one at a time. */
export async function* pipedLines(input: NodeJS.ReadableStream): AsyncGenerator<string> {
  yield* createInterface({ input, terminal: false });
}

/**
 * Lines that a person types, with editing and history, until Ctrl-D or a second Ctrl-C; the first says so.
 *
 * Between two lines nothing reads the terminal: it is in its ordinary mode, in which Ctrl-C is a signal.
 *
 * @param prompt what stands before the line
 * @param onEnd called where Ctrl-C ended it
 */
export async function* typedLines(
  input: ReadStream,
  output: WriteStream,
  prompt: string,
  onEnd: () => void,
): AsyncGenerator<string> {
  let history: string[] = [];
  let warned = false;
  for (;;) {
    const lines: string[] = [];
    const ended = await new Promise<"line" | "end" | "interrupt">((resolve) => {
      const reader = createInterface({ input, output, prompt, history, historySize: 500 });
      let why: "line" | "end" | "interrupt" = "end";
      reader.on("line", (line) => {
        lines.push(line); // several at once where text was pasted
        why = "line";
        setImmediate(() => reader.close());
      });
      reader.on("SIGINT", () => {
        why = "interrupt";
        reader.close();
      });
      reader.on("history", (kept) => {
        history = kept;
      });
      reader.on("close", () => resolve(why));
      reader.prompt();
    });
    if (ended !== "line") output.write("\n");
    if (ended === "end") return;
    if (ended === "interrupt") {
      if (warned) {
        onEnd();
        return;
      }
      output.write("Ctrl-C again or /exit ends.\n");
    }
    warned = ended === "interrupt";
    yield* lines;
  }
}
