import {
  existsSync,
  promises as fs,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { writeRandomCheckpoint } from "../../scripts/random-checkpoint.ts";
import { MARK, type PendingFolder, writeFolder } from "../../src/cli/runs/export-folder.ts";
import { openCheckpoint } from "../../src/io/checkpoint.ts";
import { memoryFolder } from "../../src/io/memory-folder.ts";
import { bytesOf, encodeSafetensors, f32ToBf16, type TensorData, toFloat32 } from "../../src/io/safetensors.ts";
import { nodeFolder } from "../../src/platform/node/fs.ts";
import { adapterFor, copyTinyTokenizer } from "../session/export/fixtures.ts";
import { contents, TINY } from "../train/fixtures.ts";
import { run } from "./e2e.ts";
import { qwench, useProcesses } from "./process.ts";

let root: string;
const at = (...names: string[]) => join(root, ...names);

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), "qwench-export-"));
  const model = nodeFolder(at("model"));
  await writeRandomCheckpoint(model, { ...TINY, vocab_size: 640 });
  await copyTinyTokenizer(model);
  await adapterFor(model, { folder: nodeFolder(at("adapter")), base: at("model") });
  await adapterFor(model, { folder: nodeFolder(at("nameless")) });
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

const adapted = (...more: string[]) => run("export", "--adapter", at("adapter"), "--check_tokens", "4", ...more);
const left = (name: string) => readdirSync(root).filter((entry) => entry.startsWith(name));

describe("qwench export", () => {
  test("writes, checks and prints the differences", async () => {
    const { code, said } = await adapted("--format", "gguf", "--quantization", "f16", "--output", at("tuned"));
    expect(said).toMatch(/tuned: tuned-F16\.gguf; \d+ kB in total/);
    expect(said).toMatch(
      /ok: over 4 prompts of \d+ tokens the worst logit difference is 0\.\d+ % of the largest logit \(\S+; at most 0\.5 %\), and 1?\d of 16 greedy tokens agree\./,
    );
    expect(said).toMatch(/The adapter itself changes logits by up to \d+ %: 100 % of that is in the export\./);
    expect(code).toBe(0);
    expect(readdirSync(at("tuned"))).toEqual(["tuned-F16.gguf"]);
    expect(left("tuned")).toEqual(["tuned"]);
  });

  test("finds the base by --model, and completes an adapter without a base", async () => {
    const { code } = await run(
      ..."export --format lora --check false".split(" "),
      ...["--adapter", at("nameless"), "--model", at("model"), "--output", at("lora")],
    );
    expect(code).toBe(0);
    expect(JSON.parse(readFileSync(at("lora", "adapter_config.json"), "utf8")).base_model_name_or_path).toBe(
      at("model"),
    );
  });

  test("skips the check on request, with a note", async () => {
    mkdirSync(at("empty")); // may be there, if nothing is in it
    const { code, said } = await adapted("--format", "merged_16bit", "--output", at("empty"), "--check", "false");
    expect(said).toMatch(/note: the export was not checked/);
    expect(code).toBe(0);
    expect(readdirSync(at("empty"))).toContain("model.safetensors");
  });

  test("takes prompts from a file", async () => {
    writeFileSync(at("prompts.txt"), "What is 2 + 2?\n\nand 3 + 3?\n");
    const out = ["--format", "merged_16bit", "--output", at("prompted")];
    expect((await adapted(...out, "--prompts", at("prompts.txt"))).said).toMatch(/ok: over 2 prompts/);
    writeFileSync(at("none.txt"), "\n");
    const { code, said } = await adapted("--format", "gguf", "--output", at("none"), "--prompts", at("none.txt"));
    expect([code, said]).toEqual([1, expect.stringMatching(/none\.txt: it has no prompts/)]);
    expect(left("none").filter((name) => name !== "none.txt")).toEqual([]);
  });

  test("keeps an unchecked export under another name", async () => {
    writeFileSync(at("bad.jsonl"), '{"nothing": 1}\n');
    const { code, said } = await adapted("--format", "gguf", "--output", at("unsure"), "--prompts", at("bad.jsonl"));
    expect(said).toMatch(
      /check of the export failed: it stays in \S+unsure\.partial, and \S+unsure was not created\. --check false exports/,
    );
    expect(said).toMatch(/DataError: \S*bad\.jsonl/);
    expect([code, left("unsure")]).toEqual([1, ["unsure.partial"]]);
  });

  test("exits 1 beyond the tolerance, and creates nothing under the final name", async () => {
    // Scales norms down and the next layers up: the same model, but one weight of each block is 4096 times as large as
    // the others, so that 4 bits keep only that weight.
    const even = memoryFolder("even");
    await writeRandomCheckpoint(even, { ...TINY, vocab_size: 640 });
    const base = await openCheckpoint(even);
    const tensors: TensorData[] = [];
    for (const { name, dtype, shape } of base.tensors.values()) {
      const values = toFloat32(await base.read(name), dtype).slice();
      const factor = /layernorm/.test(name) ? 1 / 4096 : /(q|k|v|gate|up)_proj\.weight/.test(name) ? 4096 : 1;
      for (let i = 0; i < values.length; i++) if ((i % shape.at(-1)!) % 32 === 0) values[i] *= factor;
      tensors.push({ name, dtype, shape, data: bytesOf(f32ToBf16(values)) });
    }
    const model = nodeFolder(at("uneven"));
    await model.write("model.safetensors", encodeSafetensors(tensors));
    await model.write("config.json", await even.readText("config.json"));
    await copyTinyTokenizer(model);
    await adapterFor(model, { folder: nodeFolder(at("spike")), base: at("uneven"), size: 0.05 });
    expect(
      (
        await run(
          ..."export --format gguf --quantization bf16".split(" "),
          ...["--adapter", at("spike"), "--output", at("even")],
        )
      ).code,
    ).toBe(0);
    const { code, said } = await run(
      ..."export --format gguf --quantization q4_0 --check_tokens 4".split(" "),
      ...["--adapter", at("spike"), "--output", at("drowned")],
    );
    expect(said).toMatch(/FAILED: over 4 prompts/);
    expect(said).toMatch(
      /does not behave like its source model: it stays in \S+drowned\.partial, and \S+ was not created/,
    );
    expect(code).toBe(1);
    expect(left("drowned")).toEqual(["drowned.partial"]);
  });

  test.each([
    [["--format", "gguf"], /Name what to export with --adapter or --model/],
    [["--adapter", "x", "--output", "y"], /--format is needed: lora, merged_16bit, merged_4bit, gguf/],
    [["--adapter", "x", "--format", "onnx"], /--format must be one of lora, .*, got onnx/],
    [["--model", "x", "--format", "lora", "--output", "y"], /--format lora exports an adapter: name it with --adapter/],
    [["--adapter", "x", "--format", "gguf"], /--output is needed/],
    [
      ["--adapter", "x", "--format", "gguf", "--output", "y", "--quantization", "q5_k"],
      /must be one of f16, bf16, q8_0, q4_0/,
    ],
    [
      ["--adapter", "x", "--format", "lora", "--output", "y", "--quantization", "f16"],
      /--quantization is for --format gguf, not lora/,
    ],
    [
      ["--adapter", "x", "--format", "gguf", "--output", "y", "--dtype", "float16"],
      /--dtype is for --format merged_16bit and merged_4bit/,
    ],
    [
      ["--adapter", "x", "--format", "merged_16bit", "--output", "y", "--dtype", "int8"],
      /--dtype must be one of auto, bfloat16/,
    ],
    [["--adapter", "", "--format", "gguf", "--output", "y"], /--adapter must not be empty/],
    [["stray"], /takes flags only, got stray/],
    [["--quantisation", "f16"], /Unknown flag --quantisation: did you mean --quantization\?/],
  ])("%j is wrong usage", async (argv, message) => {
    const { code, said } = await run("export", ...argv);
    expect(said).toMatch(message);
    expect(code).toBe(2);
  });

  test("refuses a non-empty folder before it does anything", async () => {
    mkdirSync(at("full"));
    writeFileSync(at("full", "mine.txt"), "mine");
    const { code, said, seconds } = await adapted("--format", "gguf", "--output", at("full"));
    expect(said).toMatch(/full: it exists and is not empty; name another folder, or remove it/);
    expect([code, readdirSync(at("full"))]).toEqual([2, ["mine.txt"]]);
    expect(seconds).toBeLessThan(15);
    writeFileSync(at("file"), "mine");
    expect((await adapted("--format", "gguf", "--output", at("file"))).said).toMatch(/a file with that name exists/);
  });

  test.each([
    [
      "no adapter there",
      (dir: string) => rmSync(join(dir, "adapter_model.safetensors")),
      /it has neither adapter_model\.safetensors nor/,
    ],
    [
      "an adapter cut short",
      (dir: string) => writeFileSync(join(dir, "adapter_model.safetensors"), "abc"),
      /3 bytes, but the header's length alone needs 8/,
    ],
    [
      "a config that is none",
      (dir: string) => writeFileSync(join(dir, "adapter_config.json"), "{"),
      /adapter_config\.json: it is not JSON/,
    ],
    ["another kind of adapter", (dir: string) => edit(dir, { use_qalora: true }), /use_qalora is true/],
    [
      "a base that is nowhere",
      (dir: string) => edit(dir, { base_model_name_or_path: "/no/where" }),
      /Cannot load \/no\/where: there is no folder \/no.*\/adapter_config\.json names it as the adapter.s base.*with --model$/m,
    ],
    [
      "no base",
      (dir: string) => edit(dir, { base_model_name_or_path: null }),
      /does not name its base model: name it with --model/,
    ],
  ])("%s: a clear error, and no files remain", async (_, spoil, message) => {
    const dir = mkdtempSync(at("bad-"));
    await adapterFor(nodeFolder(at("model")), { folder: nodeFolder(dir), base: at("model") });
    spoil(dir);
    const { code, said } = await run("export", "--format", "gguf", "--adapter", dir, "--output", at("spoilt"));
    expect(said).toMatch(message);
    expect(said).not.toContain("UNCAUGHT");
    expect(code).toBeGreaterThan(0);
    expect(left("spoilt")).toEqual([]);
  });

  test("a full disk: a message, and no files remain", async () => {
    const open = fs.open;
    const full = Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC" });
    let bytes = 0;
    vi.spyOn(fs, "open").mockImplementation(async (...args) => {
      const handle = await open(...args);
      if (args[1] !== "wx") return handle;
      const write = handle.write.bind(handle) as (...args: unknown[]) => Promise<{ bytesWritten: number }>;
      handle.write = (async (...parts: unknown[]) => {
        if ((bytes += (parts[0] as Uint8Array).length) > 100_000) throw full;
        return write(...parts);
      }) as never;
      return handle;
    });
    const { code, said } = await adapted("--format", "merged_16bit", "--output", at("filled"));
    vi.restoreAllMocks();
    expect(said).toMatch(/Removed the unfinished \S+filled\n.*model\.safetensors: the disk is full \(ENOSPC\)/);
    expect([code, left("filled")]).toEqual([1, []]);
  });

  test("removes its files after an error", async () => {
    const dir = mkdtempSync(at("nan-"));
    await adapterFor(nodeFolder(at("model")), { folder: nodeFolder(dir), base: at("model"), size: Number.NaN });
    const { code, said } = await run("export", "--format", "merged_16bit", "--adapter", dir, "--output", at("nan"));
    expect(said).toMatch(/merged with the adapter, holds a value that is not finite/);
    expect(said).toMatch(/Removed the unfinished \S+nan/);
    expect([code, left("nan")]).toEqual([1, [dir.slice(root.length + 1)]]);
  });
});

function edit(dir: string, values: Record<string, unknown>): void {
  const file = join(dir, "adapter_config.json");
  writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, "utf8")), ...values }));
}

describe("a folder that gets its name at the end", () => {
  const REQUEST = '{"format":"lora"}';
  const notes: string[] = [];
  const write = <T>(name: string, work: (pending: PendingFolder) => Promise<T>, request = REQUEST) =>
    writeFolder(at(name), request, (note) => notes.push(note), work);
  const writeA = (name: string) =>
    write(name, async ({ folder, finish }) => {
      await folder.write("a.txt", "a");
      await finish();
      return "written";
    });
  const filesOf = async (name: string) => Object.keys(await contents(nodeFolder(at(name))));
  /** The remains of a killed process, with its files in `NAME.partial` or already in `NAME`. */
  const leave = (folder: string, finished: boolean, request = REQUEST) => {
    mkdirSync(at(folder));
    writeFileSync(at(folder, "a.txt"), "kept");
    writeFileSync(at(folder, MARK), JSON.stringify({ request, finished }));
  };

  test("does not exist before, and is complete after", async () => {
    await write("whole", async ({ folder, finish }) => {
      await folder.write("a.txt", "a");
      expect(existsSync(at("whole"))).toBe(false);
      await finish();
    });
    expect(await filesOf("whole")).toEqual(["a.txt"]);
    expect(left("whole")).toEqual(["whole"]);
  });

  test("removes unfinished exports, but no files of the user", async () => {
    leave("old.partial", false);
    expect(await writeA("old")).toBe("written");
    expect(notes).toEqual([expect.stringMatching(/removed \S+old\.partial, which an unfinished export had left/)]);
    expect(await filesOf("old")).toEqual(["a.txt"]);
    mkdirSync(at("own.partial"));
    writeFileSync(at("own.partial", "diary.txt"), "dear");
    await expect(writeA("own")).rejects.toThrow(/own\.partial exists and is not from an export/);
    expect(readFileSync(at("own.partial", "diary.txt"), "utf8")).toBe("dear");
  });

  test("continues after a kill at any moment", async () => {
    mkdirSync(at("begun.partial")); // before its mark was written
    writeFileSync(at("begun.partial", ".qwench-export.json.1-a.qwench-tmp"), "{");
    expect(await writeA("begun")).toBe("written");
    mkdirSync(at("cut.partial"));
    writeFileSync(at("cut.partial", MARK), '{"requ');
    expect(await writeA("cut")).toBe("written");
    leave("ready.partial", true); // before it got its name
    expect(await writeA("ready")).toBeNull();
    leave("named", true); // before its mark was removed
    expect(await writeA("named")).toBeNull();
    for (const name of ["ready", "named"]) {
      expect(await filesOf(name)).toEqual(["a.txt"]);
      expect(readFileSync(at(name, "a.txt"), "utf8")).toBe("kept");
      expect(left(name)).toEqual([name]);
    }
  });

  test("another request does not reuse a finished export", async () => {
    leave("other.partial", true, '{"format":"gguf"}');
    expect(await writeA("other")).toBe("written");
    leave("taken", true, '{"format":"gguf"}');
    await expect(writeA("taken")).rejects.toThrow(/it exists and is not empty/);
  });

  test("is used by one process at a time", async () => {
    await write("busy", async () => {
      await expect(writeA("busy")).rejects.toThrow(
        /Cannot export to \S+busy: process \d+ on .* is already working there/,
      );
    });
  });

  test("does not overwrite files that appeared meanwhile", async () => {
    const late = write("late", async ({ finish }) => {
      mkdirSync(at("late"));
      writeFileSync(at("late", "x"), "");
      await finish();
    });
    await expect(late).rejects.toThrow(/it exists and is not empty/);
  });
});

describe("as a process of its own", () => {
  useProcesses();

  /** Starts an export of a model that takes a while, and acts once `.partial` holds a file of weights. */
  /** An export that gets a signal while it writes weights. */
  async function interrupted(name: string, signal: NodeJS.Signals) {
    const large = nodeFolder(at("large"));
    if (!(await large.exists("config.json"))) {
      // some fifty MB, so that a signal is noticed before the last of them
      await writeRandomCheckpoint(large, { ...TINY, hidden_size: 512, vocab_size: 12_000, tie_word_embeddings: false });
    }
    const argv = ["export", "--model", at("large"), "--format", "merged_16bit", "--dtype", "float32"];
    return qwench([...argv, "--output", at(name)], { writing: ["safetensors", signal] });
  }

  test("Ctrl-C leaves nothing", async () => {
    const { code, said } = await interrupted("stopped", "SIGINT");
    expect(said).toMatch(/Removed the unfinished \S+stopped\nInterrupted/);
    expect(code).toBe(130);
    expect(left("stopped")).toEqual([]);
  });

  test("a kill leaves nothing under the final name, and the next export clears up", async () => {
    const { signal } = await interrupted("killed", "SIGKILL");
    expect(signal).toBe("SIGKILL");
    expect(left("killed")).toEqual(["killed.lock", "killed.partial"]);
    const { code: next, said } = await adapted("--format", "gguf", "--output", at("killed"), "--check", "false");
    expect(said).toMatch(/note: removed \S+killed\.partial/);
    expect([next, left("killed")]).toEqual([0, ["killed"]]);
  });
});
