import { execFile } from "node:child_process";
import { chmodSync, cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { builtPackage } from "../cli/built.ts";
import { type Block, blocksOf, root } from "./blocks.ts";

/** Time limit of a command in ms: only a hang reaches it, on a busy machine too. */
const PATIENCE = 840_000;

const exec = promisify(execFile);
const TSX = import.meta.resolve("tsx");

/** Files of a clone that documents refer to. */
const OF_THE_CLONE = ["assets", "recipes", "node_modules", "package.json"];

/**
 * A folder like a reader's: a clone's files, `qwench` as a command and as the package that programs import, no access to the hub.
 * Both are bundles, which start in a third of the processor time that the sources need.
 */
export async function readersFolder(): Promise<{ folder: string; env: NodeJS.ProcessEnv; remove(): void }> {
  const folder = mkdtempSync(join(tmpdir(), "qwench-docs-"));
  const bundles = await builtPackage("cli", "headless", "platform");
  for (const name of OF_THE_CLONE) symlinkSync(join(root, name), join(folder, name));
  symlinkSync(join(bundles, "dist"), join(folder, "dist"));
  cpSync(join(root, "examples"), join(folder, "examples"), { recursive: true }); // a link would make them part of the clone
  const bin = join(folder, ".bin");
  mkdirSync(bin);
  writeFileSync(join(bin, "qwench"), `#!/bin/sh\nexec "${process.execPath}" "${join(bundles, "dist/cli.js")}" "$@"\n`);
  chmodSync(join(bin, "qwench"), 0o755);
  const env = {
    ...process.env,
    PATH: `${bin}:${process.env.PATH}`,
    HF_ENDPOINT: "http://127.0.0.1:9", // downloads do not run here
    NO_COLOR: "1",
  };
  return { folder, env, remove: () => rmSync(folder, { recursive: true, force: true }) };
}

/** The output of a command, both streams in order of arrival. @throws with the output if the exit code is not 0 */
async function output(
  file: string,
  args: string[],
  { timeout = PATIENCE, ...options }: { cwd: string; env: NodeJS.ProcessEnv; timeout?: number },
): Promise<string> {
  try {
    const { stdout, stderr } = await exec(file, args, { ...options, maxBuffer: 1 << 26, timeout });
    return `${stderr}\n${stdout}`;
  } catch (error) {
    const { stdout, stderr, message, killed } = error as Error & { stdout: string; stderr: string; killed: boolean };
    throw new Error(`${message}${killed ? ` (ended after ${timeout / 1000} s)` : ""}\n${stderr}\n${stdout}`);
  }
}

/** Runs shell code. @param timeout milliseconds */
const shell = (text: string, cwd: string, env: NodeJS.ProcessEnv, timeout: number) =>
  output("bash", ["-euo", "pipefail", "-c", text], { cwd, env, timeout });

/** Runs a TypeScript program. */
export const program = (file: string, cwd: string, env: NodeJS.ProcessEnv, ...args: string[]) =>
  output(process.execPath, ["--import", TSX, file, ...args], { cwd, env });

/** Whether a block is run in a test of this speed. */
export const runsIn = ({ marks }: Block, slow: boolean) => marks.includes("run") && marks.includes("slow") === slow;

/**
 * Follows a page: writes its files, runs its marked commands in order and compares their output with the page.
 * TypeScript blocks form one program: a later block continues an earlier one.
 */
export async function follow(page: string, slow: boolean): Promise<string[]> {
  const { folder, env, remove } = await readersFolder();
  const faults: string[] = [];
  let said = "";
  const blocks = blocksOf(page);
  const typescript = blocks.filter((block) => block.language === "ts" && runsIn(block, slow));
  const last = typescript.at(-1);
  try {
    for (const block of blocks) {
      const where = `${page}:${block.line}`;
      if (block.file !== null) {
        const path = join(folder, block.file);
        mkdirSync(dirname(path), { recursive: true });
        if (existsSync(path)) faults.push(`${where}: ${block.file} is there already`);
        else writeFileSync(path, `${block.text}\n`);
      }
      if (block.language === "sh" && runsIn(block, slow))
        said = await shell(block.text, folder, env, slow ? 1_500_000 : PATIENCE);
      if (block === last) {
        writeFileSync(join(folder, "program.ts"), typescript.map(({ text }) => text).join("\n"));
        said = await program(join(folder, "program.ts"), folder, env);
      }
      if (block.marks.includes("output") && block.marks.includes("slow") === slow) {
        faults.push(...missing(block.text, said).map((line) => `${where}: not printed: ${line}`));
      }
    }
  } catch (error) {
    faults.push(`${page}: ${(error as Error).message}`);
  } finally {
    remove();
  }
  return faults;
}

/** Lines that a text does not contain, ignoring numbers and spaces. */
export function missing(expected: string, text: string): string[] {
  const plain = (line: string) =>
    line
      .replaceAll(/\d+(?:[.,]\d+)*(?:e[-+]?\d+)?/g, "0")
      .replaceAll(/\s+/g, " ")
      .trim();
  const all = plain(text);
  return expected.split("\n").filter((line) => line.trim() !== "" && !all.includes(plain(line)));
}
