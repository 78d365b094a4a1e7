import { join } from "node:path";
import { afterAll, beforeAll } from "vitest";
import { program, readersFolder } from "../docs/run.ts";

/** Runs examples as a reader does: in a separate process, in a folder with a clone's files. Call at the top of the file. */
export function useExamples() {
  let reader: Awaited<ReturnType<typeof readersFolder>>;
  beforeAll(async () => {
    reader = await readersFolder();
  });
  afterAll(() => reader.remove());
  return {
    reader: () => reader,
    /** @returns what it printed */
    example: (name: string, ...args: string[]) =>
      program(join(reader.folder, "examples", name), reader.folder, reader.env, ...args),
  };
}
