import { PassThrough } from "node:stream";
import type { ReadStream, WriteStream } from "node:tty";
import { describe, expect, it } from "vitest";
import { pipedLines, typedLines } from "../../src/cli/terminal/lines.ts";

/** A terminal: keys go in, what is shown comes out. */
function terminal() {
  const input = Object.assign(new PassThrough(), { isTTY: true, raw: false, setRawMode: (_: boolean) => {} });
  input.setRawMode = (raw: boolean) => void (input.raw = raw);
  const output = Object.assign(new PassThrough(), { isTTY: true, columns: 80 });
  let shown = "";
  output.on("data", (data) => {
    shown += data;
  });
  let interrupted = 0;
  const lines = typedLines(input as unknown as ReadStream, output as unknown as WriteStream, "> ", () => interrupted++);
  /** Types, a burst after another once the one before was seen; gives the next line. */
  const next = async (...bursts: string[]) => {
    const line = lines.next();
    for (const keys of bursts) {
      await new Promise((seen) => setTimeout(seen, 50));
      input.write(keys);
    }
    return (await line).value;
  };
  return { input, next, shown: () => shown, interrupted: () => interrupted };
}

describe("lines", () => {
  it("of a pipe come one by one, however they are cut", async () => {
    const input = new PassThrough();
    const all: string[] = [];
    setTimeout(() => input.write("one\ntw"), 5);
    setTimeout(() => input.end("o\n\nthree"), 10);
    for await (const line of pipedLines(input)) {
      await new Promise((resolve) => setTimeout(resolve, 20)); // an answer takes its time
      all.push(line);
    }
    expect(all).toEqual(["one", "two", "", "three"]);
  });

  it("that are typed can be edited, recalled and pasted several at once", async () => {
    const { next, shown, input } = terminal();
    expect(await next("hallo\u007f\u007f\u007fllo\r")).toBe("hallo");
    expect(input.raw).toBe(false); // Ctrl-C is a signal again while the answer comes
    expect(await next("\u001b[A!\r")).toBe("hallo!");
    expect(await next("one\rtwo\r")).toBe("one");
    expect(await next("")).toBe("two");
    expect(shown()).toContain("> ");
    expect(await next("\u0004")).toBeUndefined();
  });

  it("end with a second Ctrl-C in a row", async () => {
    const { next, shown, interrupted } = terminal();
    expect(await next("abc\u0003", "def\r")).toBe("def");
    expect(shown()).toContain("Ctrl-C again or /exit ends.");
    expect(interrupted()).toBe(0);
    expect(await next("\u0003", "\u0003")).toBeUndefined();
    expect(interrupted()).toBe(1);
  });
});
