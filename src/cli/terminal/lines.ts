import { createInterface } from "node:readline";
import type { ReadStream, WriteStream } from "node:tty";

/** Lines of a pipe or a file, one at a time. */
export async function* pipedLines(input: NodeJS.ReadableStream): AsyncGenerator<string> {
  yield* createInterface({ input, terminal: false });
}

/**
 * Lines typed by the user, with editing and history, until Ctrl-D or a second Ctrl-C. The first Ctrl-C prints a hint.
 *
 * Between two lines nothing reads the terminal, so it stays in normal mode, in which Ctrl-C is a signal.
 *
 * @param prompt text before the line
 * @param onEnd called if Ctrl-C ended the input
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
        lines.push(line); // pasted text gives several lines at once
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
