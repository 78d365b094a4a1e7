import { createHash } from "node:crypto";
import { nodeFolder } from "../../platform/node/fs.ts";
import type { JudgeReply } from "../../rewards/judge/endpoint.ts";
import type { JudgeCache } from "../../rewards/judge/judge.ts";

const FILE = "judge.jsonl";

/** A judge's replies in a folder, one line each with the request's hash. Skips interrupted lines. */
export function openJudgeCache(path: string): JudgeCache {
  const folder = nodeFolder(path);
  const known = new Map<string, JudgeReply>();
  const keyOf = (question: string) => createHash("sha256").update(question).digest("hex");
  const load = async () => {
    if (!(await folder.exists(FILE))) return;
    const text = await folder.readText(FILE);
    for (const line of text.split("\n")) {
      const entry = entryOf(line);
      if (entry) known.set(entry.key, entry.reply);
    }
    if (!text.endsWith("\n")) await folder.append(FILE, "\n");
  };
  let loading: Promise<void> | null = null;
  const loaded = () => (loading ??= load());
  return {
    async get(question) {
      await loaded();
      return known.get(keyOf(question)) ?? null;
    },
    async put(question, reply) {
      await loaded();
      const key = keyOf(question);
      known.set(key, reply);
      await folder.append(FILE, `${JSON.stringify({ key, ...reply })}\n`);
    },
  };
}

function entryOf(line: string): { key: string; reply: JudgeReply } | null {
  try {
    const { key, text, prompt_tokens, completion_tokens } = JSON.parse(line);
    return typeof key === "string" && typeof text === "string"
      ? { key, reply: { text, prompt_tokens, completion_tokens } }
      : null;
  } catch {
    return null;
  }
}
