import { execFileSync } from "node:child_process";
import { appendFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { uiScript } from "../../src/cli/commands/ui.ts";
import { main } from "../../src/cli/main.ts";
import { RunFolders } from "../../src/cli/ui/folders.ts";
import { RunReader } from "../../src/cli/ui/reader.ts";
import { serveUi, type UiServer } from "../../src/cli/ui/server.ts";
import { nodeFolder } from "../../src/platform/node/fs.ts";
import { beginRunFile, endRunFile, type RunFacts, readRunFile } from "../../src/session/run-file.ts";
import { openRunLog } from "../../src/session/run-log.ts";

let root: string;
const at = (...names: string[]) => join(root, ...names);
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "qwench-ui-"));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const FACTS: RunFacts = {
  ...{ version: 1, method: "grpo", model: "assets/tiny", data: "gsm8k", recipe: "max_steps: 9\n", max_steps: 9 },
  ...{ device: "a GPU", began: "2026-01-02T00:00:00.000Z", ended: null, status: "running", problem: null },
};
const nothing = { generation: -1, logs: 0, version: "" };

describe("a run's facts", () => {
  test("keep when the run began, and say how it ended", async () => {
    const folder = nodeFolder(at("run"));
    await beginRunFile(folder, FACTS, false);
    await endRunFile(folder, new DOMException("stopped", "AbortError"));
    expect(await readRunFile(folder)).toMatchObject({ status: "interrupted", problem: null });
    await beginRunFile(folder, { ...FACTS, began: "2026-01-03T00:00:00.000Z" }, true);
    expect(await readRunFile(folder)).toMatchObject({ began: FACTS.began, status: "running", ended: null });
    await endRunFile(folder, new Error("disk full"));
    expect(await readRunFile(folder)).toMatchObject({ status: "failed", problem: "disk full" });
    await endRunFile(folder, null);
    expect(await readRunFile(folder)).toMatchObject({ status: "finished" });
  });

  test.each(["", "[]", "{}", '{"version":1,"method":"x"}', JSON.stringify({ ...FACTS, max_steps: -1 })])(
    "%j are none",
    async (text) => {
      mkdirSync(at("run"));
      writeFileSync(at("run", "run.json"), text);
      expect(await readRunFile(nodeFolder(at("run")))).toBeNull();
    },
  );
});

describe("a run that grows", () => {
  test("sends only what is new, and everything again when the log begins anew", async () => {
    const folder = nodeFolder(at("run"));
    const log = await openRunLog(folder, { resumeStep: null });
    await beginRunFile(folder, FACTS, false);
    const reader = new RunReader("run-1", at("run"), "run");
    await log.append({ step: 1, reward: 0.5 });
    const first = await reader.news(nothing);
    expect(first).toMatchObject({ from: 0, logs: [{ step: 1, reward: 0.5 }], recipes: ["max_steps: 9\n"] });
    expect(first.logs[0].elapsed).toBeGreaterThanOrEqual(0);
    expect(first.summary).toMatchObject({
      status: "paused",
      phases: [{ method: "grpo", max_steps: 9, global_step: 1 }],
    });
    const lock = await folder.lock("qwench", "train");
    appendFileSync(at("run", "metrics.jsonl"), '{"step":2,"rew');
    const known = { generation: first.generation, logs: 1, version: first.version };
    expect(await reader.news(known)).toMatchObject({
      from: 1,
      logs: [],
      completions: null,
      summary: { status: "running" },
    });
    appendFileSync(at("run", "metrics.jsonl"), 'ard":0.75}\n');
    expect(await reader.news(known)).toMatchObject({ from: 1, logs: [{ step: 2, reward: 0.75 }] });

    // a resume drops step 2 with another file
    const resumed = await openRunLog(folder, { resumeStep: 1 });
    await resumed.append({ step: 2, reward: 1 });
    const again = await reader.news({ ...known, logs: 2 });
    expect(again).toMatchObject({ from: 0, logs: [{ step: 1 }, { step: 2, reward: 1 }] });
    expect(again.generation).not.toBe(first.generation);
    truncateSync(at("run", "metrics.jsonl"), 0);
    expect((await reader.news(known)).logs).toEqual([]);
    if ("release" in lock) await lock.release();
  });

  test("completions come when their files change", async () => {
    mkdirSync(at("run", "completions"), { recursive: true });
    const line = (step: number, text: string) =>
      `${JSON.stringify({ step, prompt: "p", completion: text, r: 1, advantage: 0, finish_reason: "stop", length: 3 })}\n`;
    const reader = new RunReader("run-1", at("run"), "run");
    writeFileSync(at("run", "completions", "completions_00001.jsonl"), line(1, "a"));
    const first = await reader.news(nothing);
    expect(first.completions).toMatchObject([{ phase: 0, step: 1, records: [{ completion: "a", rewards: { r: 1 } }] }]);
    const known = { generation: first.generation, logs: 0, version: first.version };
    expect((await reader.news(known)).completions).toBeNull();
    appendFileSync(at("run", "completions", "completions_00001.jsonl"), `${line(1, "b")}{"step":1,"pro`);
    expect((await reader.news(known)).completions?.[0].records.map(({ completion }) => completion)).toEqual(["a", "b"]);
  });

  test("a folder of an older version has a method by its metrics, and a status by its files", async () => {
    mkdirSync(at("run"));
    writeFileSync(at("run", "metrics.jsonl"), '{"step":3,"rewards/margins":1}\n');
    const reader = new RunReader("run-1", at("run"), "run");
    expect(await reader.summary()).toMatchObject({ status: "paused", phases: [{ method: "dpo", global_step: 3 }] });
    writeFileSync(at("run", "adapter_model.safetensors"), "");
    expect(await reader.summary()).toMatchObject({ status: "finished" });
  });

  test("files that are no logs, directories and huge lines are left out, with a note", async () => {
    mkdirSync(at("run", "completions", "completions_00001.jsonl"), { recursive: true });
    const hostile = [
      "<script>alert(1)</script>",
      '{"step":"x"}',
      `{"step":1,"a":"${"x".repeat(5 << 20)}"}`,
      '{"step":4,"loss":1}',
    ];
    writeFileSync(at("run", "metrics.jsonl"), `${hostile.join("\n")}\n`);
    const news = await new RunReader("run-1", at("run"), "run").news(nothing);
    expect(news.logs).toEqual([{ step: 4, loss: 1 }]);
    expect(news.notes).toEqual(["2 lines of metrics.jsonl are no logs and are left out."]);
    expect(news.completions).toEqual([]);
  });
});

test.skipIf(process.platform === "win32")("pipes in the place of files do not hang it", async () => {
  mkdirSync(at("run", "completions"), { recursive: true });
  for (const name of ["metrics.jsonl", "run.json", "completions/completions_00001.jsonl"])
    execFileSync("mkfifo", [at("run", name)]);
  const news = await new RunReader("run-1", at("run"), "run").news(nothing);
  expect(news).toMatchObject({ logs: [], completions: [], recipes: [] });
});

test("runs are found below a folder, new ones too; links are not followed", async () => {
  for (const name of ["a/sft", "b", ".hidden", "b/checkpoint-4"]) {
    mkdirSync(at("runs", name), { recursive: true });
    writeFileSync(at("runs", name, "metrics.jsonl"), "");
  }
  mkdirSync(at("outside"));
  writeFileSync(at("outside", "metrics.jsonl"), "");
  symlinkSync(at("outside"), at("runs", "link"));
  const names = async (...roots: string[]) => {
    const runs = await new RunFolders(roots).runs();
    return Promise.all(runs.map(async (run) => (await run.summary()).name));
  };
  expect(await names(at("runs"))).toEqual(["a/sft", "b"]);
  expect(await names(at("runs", "b"), at("outside"))).toEqual(["b", "outside"]);
});

describe("the server", () => {
  let server: UiServer;
  let token: string;
  beforeEach(async () => {
    mkdirSync(at("run"));
    writeFileSync(at("run", "metrics.jsonl"), '{"step":1,"loss":2}\n');
    server = await serveUi(new RunFolders([at("run")]), { port: 0, script: "export {};" });
    token = new URL(server.url).searchParams.get("token")!;
  });
  afterEach(() => server.close());

  /** Asks as any program could, with any headers. */
  const ask = (path: string, headers: Record<string, string> = {}, method = "GET") =>
    new Promise<{ status: number; headers: NodeJS.Dict<string | string[]>; text: string }>((resolve, reject) => {
      const { port } = new URL(server.url);
      const asked = request({ host: "127.0.0.1", port, path, method, headers }, (response) => {
        let text = "";
        response.on("data", (part) => (text += part));
        response.on("end", () => resolve({ status: response.statusCode!, headers: response.headers, text }));
      });
      asked.on("error", reject).end();
    });

  test("serves the page and, with the token, the runs", async () => {
    expect(new URL(server.url).hostname).toBe("127.0.0.1");
    const page = await ask("/");
    expect(page.status).toBe(200);
    expect(page.headers["content-security-policy"]).toContain("default-src 'none'; script-src 'self'");
    expect((await ask("/ui.js")).text).toBe("export {};");
    const runs = await ask("/api/runs", { "x-qwench-token": token });
    expect(JSON.parse(runs.text)).toMatchObject([{ id: "run-1", name: "run" }]);
    expect(runs.headers["content-type"]).toBe("application/json");
    const run = await ask("/api/run?id=run-1", { "x-qwench-token": token });
    expect(JSON.parse(run.text)).toMatchObject({ logs: [{ step: 1, loss: 2 }] });
  });

  test.each<[string, string, Record<string, string>, string, number]>([
    ["another host, as DNS rebinding has it", "/", { host: "evil.example" }, "GET", 421],
    ["another host with the token", "/api/runs", { host: "evil.example", "x-qwench-token": "TOKEN" }, "GET", 421],
    ["another origin", "/api/runs", { origin: "http://evil.example", "x-qwench-token": "TOKEN" }, "GET", 403],
    ["no token", "/api/runs", {}, "GET", 401],
    ["a wrong token", "/api/runs", { "x-qwench-token": "x" }, "GET", 401],
    ["the token in the address only", "/api/runs?token=TOKEN", {}, "GET", 401],
    ["a change", "/api/runs", { "x-qwench-token": "TOKEN" }, "POST", 405],
    ["a file of the folder", "/metrics.jsonl", { "x-qwench-token": "TOKEN" }, "GET", 404],
    ["a path", "/../../etc/passwd", { "x-qwench-token": "TOKEN" }, "GET", 404],
    ["a run by a path", "/api/run?id=..%2F..%2Fetc", { "x-qwench-token": "TOKEN" }, "GET", 404],
  ])("refuses %s", async (_, path, headers, method, status) => {
    const real = Object.fromEntries(
      Object.entries(headers).map(([key, value]) => [key, value.replace("TOKEN", token)]),
    );
    const answer = await ask(path.replace("TOKEN", token), real, method);
    expect(answer.status).toBe(status);
    expect(answer.text).not.toContain("loss");
  });
});

test("the command names wrong ports and folders, and where its page is missing", async () => {
  const said: string[] = [];
  const { error } = console;
  console.error = (...parts: unknown[]) => said.push(parts.join(" "));
  try {
    expect(await main(["ui", "--port", "x"])).toBe(2);
    expect(await main(["ui", at("nowhere")])).toBe(1);
  } finally {
    console.error = error;
  }
  expect(said.join("\n")).toMatch(/--port must be an integer/);
  expect(said.join("\n")).toMatch(/there is no such folder/);
  expect(() => uiScript("file:///nowhere/a/b/c.js")).toThrow(/npm run build makes it/);
});
