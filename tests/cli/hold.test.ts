import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { checkOutput, savedRows } from "../../src/cli/runs/generate-rows.ts";
import { BusyError, QwenchError } from "../../src/errors.ts";
import { nodeFolder } from "../../src/platform/node/fs.ts";
import { holding } from "../../src/session/hold.ts";

const root = mkdtempSync(join(tmpdir(), "qwench-hold-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));
const at = (...names: string[]) => join(root, ...names);
const claim = { name: "run", what: "train in out", instead: "name another --output_dir" };

describe("holding", () => {
  it("refuses a folder that another process uses, and changes nothing there", async () => {
    const folder = nodeFolder(at("busy"));
    await folder.write("mine.txt", "mine");
    // the process that started this one lives as long as it does
    writeFileSync(at("busy", "run.lock"), JSON.stringify({ id: process.ppid, host: hostname(), what: "x", began: "" }));
    let worked = false;
    const held = holding({ folder, ...claim }, async () => {
      worked = true;
    });
    await expect(held).rejects.toThrow(BusyError);
    await expect(held).rejects.toThrow(
      `Cannot train in out: process ${process.ppid} on ${hostname()} is already working there. Wait until that process ends, or name another --output_dir`,
    );
    expect([worked, readdirSync(at("busy"))]).toEqual([false, ["mine.txt", "run.lock"]]);
  });

  it("takes over a dead process's lock", async () => {
    const folder = nodeFolder(at("dead"));
    await folder.write("mine.txt", "mine");
    writeFileSync(at("dead", "run.lock"), JSON.stringify({ id: 2 ** 22 + 1, host: hostname(), what: "x", began: "" }));
    expect(await holding({ folder, ...claim }, async () => readFileSync(at("dead", "run.lock"), "utf8"))).toContain(
      `"id":"${process.pid}"`,
    );
    expect(readdirSync(at("dead"))).toEqual(["mine.txt"]);
  });

  it("releases after a failure, and leaves no empty folder", async () => {
    const folder = nodeFolder(at("failed"));
    const failing = holding({ folder, ...claim }, async () => {
      throw new Error("no rows");
    });
    await expect(failing).rejects.toThrow("no rows");
    expect(existsSync(at("failed"))).toBe(false);
  });

  it("reports an unwritable folder before any work", async () => {
    writeFileSync(at("file"), "");
    const held = holding({ folder: nodeFolder(at("file", "out")), ...claim }, async () => expect.unreachable());
    await expect(held).rejects.toThrow(QwenchError);
    await expect(held).rejects.toThrow(/^Cannot train in out: \S+ cannot be written \(.+\)\. Free it, or name another/);
  });
});

describe("an output that was written while its .partial was still there", () => {
  const rows = ["a", "b"].map((prompt, i) => ({
    source: { row: { prompt }, number: i + 1, file: "rows.jsonl" },
    prompt: { prompt, text: prompt, prompt_ids: [i], columns: {} },
  }));
  const result = {
    responses: ["r"],
    finish_reasons: ["stop" as const],
    prompt_tokens: 1,
    completion_tokens: [1],
  };

  it("is written again, the same; one of another run is refused", async () => {
    const file = at("rows.jsonl");
    const first = await savedRows(file, rows, {}, false);
    await first.add(0, result);
    const half = readFileSync(`${file}.partial`, "utf8");
    await first.add(1, result);
    const whole = readFileSync(`${file}.partial`, "utf8");
    await first.end(true);
    const written = readFileSync(file, "utf8");

    writeFileSync(`${file}.partial`, whole); // as a kill between the two leaves it
    checkOutput(file, false);
    const second = await savedRows(file, rows, {}, false);
    expect(second.done.size).toBe(2);
    await second.end(true);
    expect(readFileSync(file, "utf8")).toBe(written);
    expect(existsSync(`${file}.partial`)).toBe(false);

    writeFileSync(`${file}.partial`, half);
    await expect(savedRows(file, rows, {}, false)).rejects.toThrow(/it exists\. Replace it with --overwrite true/);
    expect(readFileSync(file, "utf8")).toBe(written);
  });
});
