import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { main } from "../../src/cli/main.ts";
import { nodeFolder } from "../../src/platform/node/fs.ts";
import { grey, seeingModel } from "../images.ts";

let root: string;
const at = (...names: string[]) => join(root, ...names);

/** Runs a command line in this process. */
async function run(...argv: string[]): Promise<{ code: number; out: string; said: string }> {
  let [out, said] = ["", ""];
  const spies = [
    vi.spyOn(console, "error").mockImplementation((...parts) => void (said += `${parts.join(" ")}\n`)),
    vi.spyOn(console, "log").mockImplementation((...parts) => void (out += `${parts.join(" ")}\n`)),
    vi.spyOn(process.stdout, "write").mockImplementation((text) => (out += text).length > 0),
    vi.spyOn(process.stderr, "write").mockImplementation((text) => (said += text).length > 0),
  ];
  try {
    return { code: await main(argv), out, said };
  } finally {
    for (const spy of spies) spy.mockRestore();
  }
}

const row = (image: string, truth: string) => ({
  messages: [
    {
      role: "user",
      content: [
        { type: "image", image },
        { type: "text", text: "what?" },
      ],
    },
    { role: "assistant", content: truth },
  ],
});

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), "qwench-ocr-"));
  vi.stubEnv("HF_ENDPOINT", "http://127.0.0.1:9"); // no test may contact the real hub
  vi.stubEnv("XDG_CACHE_HOME", at("cache"));
  const model = await seeingModel();
  for (const name of await model.list()) {
    const source = await model.open(name);
    await nodeFolder(at("model")).write(name, await source.read(0, source.size));
  }
  writeFileSync(at("a.png"), grey(16, 16, 10));
  writeFileSync(at("b.png"), grey(32, 16, 240));
  const rows = [row("a.png", "</pre><script>alert(1)</script>"), row("b.png", "light, really")];
  writeFileSync(at("rows.jsonl"), rows.map((each) => `${JSON.stringify(each)}\n`).join(""));
});
afterAll(() => {
  vi.unstubAllEnvs();
  rmSync(root, { recursive: true, force: true });
});

it("measures what a model reads, writes Unsloth's tables and a report that runs nothing", async () => {
  const argv = [
    "eval",
    "ocr",
    at("rows.jsonl"),
    "--model",
    at("model"),
    "--max_tokens",
    "6",
    "--output_dir",
    at("out"),
    "--name",
    "tiny",
  ];
  const { code, out, said } = await run(...argv);
  expect(said).toContain("detailed_results.csv");
  expect(code).toBe(0);
  expect(out).toMatch(/tiny +mean of 2 +all text\n/);
  const { results, records } = JSON.parse(readFileSync(at("out", "ocr_tiny", "results.json"), "utf8"));
  expect(results).toMatchObject({ model_type: "tiny", samples: 2, temperature: 0, max_new_tokens: 6 });
  expect(results.avg_cer).toBeCloseTo((records[0].cer + records[1].cer) / 2, 12);
  expect(records[0]).toMatchObject({ sample: 1, ground_truth: "</pre><script>alert(1)</script>", question: "what?" });
  expect(readFileSync(at("out", "ocr_tiny", "avg_metrics.csv"), "utf8")).toContain(`avg_cer,${results.avg_cer}\n`);
  const page = readFileSync(at("out", "ocr_tiny", "report.html"), "utf8");
  expect(page.match(/<img alt="" src="data:image\/png;base64,/g)).toHaveLength(2);
  expect(page).toContain("img-src data:");
  expect(page).toContain("&lt;/pre&gt;&lt;script&gt;");
  expect(page.match(/<script>/g)).toHaveLength(1);

  // a second run would replace it; the prompt's image makes the same text as the row's
  await expect(run(...argv)).resolves.toMatchObject({ code: 1, said: expect.stringContaining("it exists") });
  const one = await run(
    "generate",
    "what?",
    "--image",
    at("b.png"),
    "--model",
    at("model"),
    "--max_new_tokens",
    "6",
    "--temperature",
    "0",
  );
  expect(one.code).toBe(0);
  expect(one.out.trim()).toBe(records[1].generated_text.trim());
});

it("refuses rows without images or truth, and flags without a meaning", async () => {
  const rows = (name: string, value: object) => {
    writeFileSync(at(name), `${JSON.stringify(value)}\n`);
    return run("eval", "ocr", at(name), "--model", at("model"), "--output_dir", at("none"));
  };
  expect((await rows("text.jsonl", { messages: [{ role: "user", content: "a" }] })).said).toContain(
    "row 1: has no image",
  );
  const bare = { messages: [{ role: "user", content: [{ type: "image", image: "a.png" }] }] };
  expect((await rows("bare.jsonl", bare)).said).toContain("row 1: has no truth");
  expect((await rows("outside.jsonl", row("/etc/hostname", "a"))).said).toContain("outside the folder of its rows");
  expect(await run("eval", "ocr", at("rows.jsonl"), "--n", "4")).toMatchObject({
    code: 2,
    said: expect.stringContaining("--n has no meaning"),
  });
  expect(await run("eval", "ocr")).toMatchObject({ code: 2 });
});
