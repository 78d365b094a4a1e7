import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { docx, pdf } from "../data/documents/files.ts";
import { type Answer, fails, type JudgeServer, says, serveJudge } from "../rewards/judge/judge-server.ts";
import { run } from "./e2e.ts";

const KEY = "sk-loopback-0123456789abcdef";
let root: string;
let server: JudgeServer | undefined;
const at = (...names: string[]) => join(root, ...names);
const facts = (from: number, count: number) =>
  Array.from({ length: count }, (_, i) => `Pump ${from + i} lifts ${10 * (from + i)} litres.`).join("\n");

beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "qwench-data-"));
  writeFileSync(at("a.pdf"), pdf([facts(1, 20), facts(21, 20)]));
  writeFileSync(at("b.docx"), docx(`<w:p><w:r><w:t>${facts(41, 10)}</w:t></w:r></w:p>`));
  writeFileSync(at("c.md"), `# Pumps\n\n${facts(51, 10)}`);
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await server?.close();
  server = undefined;
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** Answers as a good model would. */
const good: Answer = (res, request, n) => {
  const prompt = request.body.messages[0].content;
  const pumps = [...new Set([...prompt.matchAll(/Pump (\d+) lifts/g)].map(([, n]) => Number(n)))];
  const reply = prompt.startsWith("Rate")
    ? [...prompt.matchAll(/"id":(\d+)/g)].map(([, id]) => ({ id: Number(id), rating: 8 }))
    : pumps.map((n) => ({ question: `How much does pump ${n} lift?`, answer: `${10 * n} litres.` }));
  says(JSON.stringify(reply))(res, request, n);
};

async function make(output: string, answer: Answer, ...more: string[]) {
  server = await serveJudge(answer);
  const flags = [
    "--api_base",
    server.url,
    "--api_model",
    "writer",
    "--max_seq_length",
    "800",
    "--max_generation_tokens",
    "200",
    "--overlap",
    "8",
  ];
  return run("data", "make", at("a.pdf"), at("b.docx"), at("c.md"), "--output", at(output), ...flags, ...more);
}

const rowsOf = (output: string) =>
  readFileSync(at(output, "final/train.jsonl"), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));

describe("qwench data make", () => {
  it("goes on through 429, 500, slow answers, garbage and cut JSON; the key appears nowhere; then asks nothing twice", async () => {
    vi.stubEnv("QWENCH_DATA_KEY", KEY);
    const slow: Answer = (...args) => void setTimeout(() => good(...args), 300);
    const cut: Answer = (res, request, n) => {
      const pumps = [...request.body.messages[0].content.matchAll(/Pump (\d+) lifts/g)];
      const text = JSON.stringify(
        pumps.map(([, n]) => ({ question: `How much does pump ${n} lift?`, answer: `${10 * Number(n)} litres.` })),
      );
      says(text.slice(0, text.length - 30))(res, request, n);
    };
    const first = [
      fails(429, `Bearer ${KEY}`, { "retry-after": "0.1" }),
      fails(500, KEY),
      slow,
      says("As a model, I cannot."),
      cut,
    ];
    // each trick meets another question, once: requests come in any order, and a question has few attempts
    const asked = new Set<string>();
    const answer: Answer = (res, request, n) => {
      const question = String(request.body.messages[0].content);
      const trick = asked.has(question) ? undefined : first[asked.size];
      asked.add(question);
      (trick ?? good)(res, request, n);
    };
    const { code, said } = await make("made", answer, "--split", "0.2");
    expect(said).toMatch(/kept/);
    expect(code).toBe(0);
    expect(server!.asked.every(({ authorization }) => authorization === `Bearer ${KEY}`)).toBe(true);
    const rows = rowsOf("made");
    expect(rows.length).toBeGreaterThan(40);
    expect(rows[0].messages[1].content).toMatch(/^\d+ litres\.$/);
    expect(new Set(rows.map(({ source }) => source.split("/").at(-1)))).toEqual(new Set(["a.pdf", "b.docx", "c.md"]));
    const files = readdirSync(at("made"), { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
    for (const { parentPath, name } of files) expect(readFileSync(join(parentPath, name), "latin1")).not.toContain(KEY);
    expect(said).not.toContain(KEY);
    await server!.close();
    const again = await make("made", fails(500, "no"), "--split", "0.2"); // another port: another model
    expect(again.code).toBe(1);
    expect(again.said).toMatch(/NetworkError: Cannot ask the endpoint at http:\/\/127.0.0.1:\d+/);
    expect(rowsOf("made")).toEqual(rows); // a failure leaves the earlier rows
  });

  it("each step by itself, with a config file", async () => {
    server = await serveJudge(good);
    writeFileSync(
      at("c.yaml"),
      `vllm: {api_base: "${server.url}", model: writer}\ngeneration: {chunk_size: 800, max_tokens: 200, overlap: 8}\ncurate: {threshold: 9}\n`,
    );
    const step = (...argv: string[]) => run("data", ...argv, "--output", at("steps"), "--config", at("c.yaml"));
    expect(await step("ingest", at("c.md"))).toMatchObject({ code: 0 });
    expect((await step("chunk")).said).toMatch(/c\.md: 1 chunks/);
    expect((await step("create")).said).toMatch(/10 pairs of 1 chunks \(1 replies\)/);
    expect((await step("curate")).said).toMatch(/0 of 10 pairs kept/);
    expect((await step("save-as", "alpaca")).said).toMatch(/Cannot save rows: .* lower the threshold/);
    expect((await step("curate", "--threshold", "7")).said).toMatch(/10 of 10 pairs kept \(3 replies were on disk\)/);
    expect(await step("save-as", "alpaca")).toMatchObject({ code: 0 });
    expect(rowsOf("steps")[0]).toMatchObject({ instruction: "How much does pump 51 lift?", output: "510 litres." });
  });

  it.each<[string, string[], number, RegExp]>([
    ["no step", [], 2, /Give a step: make, ingest/],
    ["an unknown step", ["cook"], 2, /got cook/],
    ["no files", ["ingest"], 2, /needs files, folders or addresses/],
    ["a missing file", ["ingest", "nowhere.pdf"], 1, /there is no such file or folder/],
    ["files where none belong", ["create", "a.pdf"], 2, /takes no files/],
    ["an empty folder", ["create", "--rate", "false"], 1, /has no documents; ingest some first/],
    ["a wrong format", ["save-as", "xml"], 2, /--format must be one of messages/],
    ["a key on the command line", ["create", "--api_parameters", '{"api_key": "x"}'], 1, /must not contain api_key/],
    ["a config with an unknown key", ["create", "--config", "bad.yaml"], 2, /there is no key "generation.pears"/],
    ["an endpoint without a model", ["create", "--api_base", "http://127.0.0.1:9"], 2, /give --api_model/],
  ])("refuses %s", async (_, argv, code, message) => {
    writeFileSync(at("bad.yaml"), "generation: {pears: 1}");
    const full = argv.map((word) => (word === "bad.yaml" ? at(word) : word));
    const ended = await run("data", ...full, "--output", at("refused"));
    expect(ended.said).toMatch(message);
    expect(ended.code).toBe(code);
  });

  it("leaves out documents of a folder that cannot be read", async () => {
    const folder = mkdtempSync(at("folder-"));
    writeFileSync(join(folder, "bad.pdf"), "%PDF-1.4 nothing");
    writeFileSync(join(folder, "good.txt"), "Some text.");
    const { code, said } = await run("data", "ingest", folder, "--output", at("some"));
    expect(code).toBe(0);
    expect(said).toMatch(/left out: Cannot read .*bad\.pdf as PDF/);
    expect(readdirSync(at("some/output"))).toEqual(["good.json", "good.txt"]);
    expect((await run("data", "ingest", join(folder, "bad.pdf"), "--output", at("none"))).code).toBe(1);
  });
});
