import { describe, expect, test } from "vitest";
import { DraftKeeper } from "../../demo/draft/kept.ts";
import { draftOfLink, LINK, linkOf } from "../../demo/draft/link.ts";
import type { Draft } from "../../demo/jobs.ts";

// Drafts that survive a reload, and links that hold one.

const draft = (change: Partial<Draft> = {}): Draft => ({
  name: "Mine",
  model: { kind: "hub", id: "Qwen/Qwen2.5-0.5B" },
  data: { kind: "hub", id: "openai/gsm8k", config: "main" },
  method: "both",
  recipes: { sft: { lora_r: 4, system_prompt: "Ä\n…" }, grpo: { beta: 0.04 }, dpo: { beta: 0.1 } },
  forms: {
    sft: { preset: "", values: { lora_r: "4" } },
    grpo: { preset: "small-grpo", values: { beta: 0.04 } },
  },
  evaluate: { data: { kind: "hub", id: "openai/gsm8k", config: "main", split: "test" }, problems: 20 },
  touched: true,
  ...change,
});

function memory() {
  const texts = new Map<string, string>();
  const files = new Map<string, File[]>();
  const storage = {
    getItem: (key: string) => texts.get(key) ?? null,
    setItem: (key: string, text: string) => void texts.set(key, text),
    removeItem: (key: string) => void texts.delete(key),
  };
  const store = {
    get: async (key: string) => files.get(key),
    set: async (key: string, list: File[]) => void files.set(key, list),
    remove: async (key: string) => void files.delete(key),
  };
  return { texts, files, keeper: () => new DraftKeeper(storage, store) };
}

describe("a kept draft", () => {
  test("comes back after a reload with every choice, its files too", async () => {
    const place = memory();
    const file = new File(["a,b\n1,2\n"], "rows.csv");
    const folder = [new File(["{}"], "config.json")];
    const mine = draft({
      data: { kind: "file", file, columns: { prompt: "a" } },
      model: { kind: "files", name: "own", files: folder },
    });
    place.keeper().save(mine);
    expect(await place.keeper().load()).toEqual({ draft: mine, missing: {} });
    place.keeper().save(draft());
    expect(await place.keeper().load()).toEqual({ draft: draft(), missing: {} });
  });

  test("says which files are to be chosen again, and keeps the other choices", async () => {
    const place = memory();
    const file = new File(["a"], "rows.csv");
    place.keeper().save(draft({ data: { kind: "file", file } }));
    place.files.clear();
    expect(await place.keeper().load()).toEqual({ draft: draft({ data: null }), missing: { data: "rows.csv" } });
  });

  test("does not copy gigabytes, and forgets a file that was replaced", async () => {
    const place = memory();
    const keeper = place.keeper();
    keeper.save(draft({ data: { kind: "file", file: new File(["a"], "rows.csv") } }));
    const large = new File(["b"], "large.csv");
    Object.defineProperty(large, "size", { value: 3e9 });
    keeper.save(draft({ data: { kind: "file", file: large } }));
    expect(place.files.size).toBe(0);
    expect((await place.keeper().load())!.missing).toEqual({ data: "large.csv" });
  });

  test("is gone after a reset; damaged text, another version and forbidden storage count as none", async () => {
    const place = memory();
    place.keeper().save(draft());
    place.keeper().clear();
    expect(await place.keeper().load()).toBe(null);
    for (const text of ["{", "null", '{"version":99,"draft":{}}']) {
      place.texts.set("qwench.draft", text);
      expect(await place.keeper().load()).toBe(null);
    }
    const full = {
      getItem: () => null,
      setItem: () => {
        throw new Error("QuotaExceededError");
      },
      removeItem: () => {},
    };
    new DraftKeeper(full, { get: async () => undefined, set: async () => {}, remove: async () => {} }).save(draft());
  });
});

describe("a link", () => {
  const opened = (link: string | null) => draftOfLink(link!.slice(LINK.length));

  test("holds the recipe, model and data of the hub", () => {
    const link = linkOf(draft(), ["sft", "grpo"])!;
    expect(link).toMatch(/^#\/recipe\/[\w-]+$/);
    const { forms, recipes, ...rest } = opened(link);
    const { forms: _, recipes: mine, ...want } = draft();
    expect(rest).toEqual(want);
    expect(recipes).toEqual({ ...mine, dpo: {} });
    expect(forms!.sft).toEqual({ preset: "", values: mine.sft });
  });

  test("never carries files, stored names, keys, or paths of this machine", () => {
    const file = new File(["a"], "secret-rows.csv");
    const link = linkOf(
      draft({
        name: "",
        model: { kind: "stored", id: "models/own-12345678" },
        data: { kind: "file", file },
        recipes: {
          sft: {
            judge_api_key: "sk-123",
            hub_token: "hf_1",
            wandb_key: "k",
            trainable_token_indices: { embed_tokens: [1] },
          },
          grpo: { reward_funcs: ["./mine.mjs"] },
          dpo: {},
        },
      }),
      ["sft", "grpo"],
    )!;
    const back = opened(link);
    expect([back.model, back.data, back.recipes.grpo]).toEqual([null, null, {}]);
    expect(back.recipes.sft).toEqual({ trainable_token_indices: { embed_tokens: [1] } });
    expect(atob(link.slice(LINK.length).replaceAll("-", "+").replaceAll("_", "/"))).not.toMatch(
      /sk-123|hf_1|secret|own-/,
    );
  });

  test("too long gives none", () => {
    const recipes = { sft: { system_prompt: "x".repeat(9000) }, grpo: {}, dpo: {} };
    expect(linkOf(draft({ recipes }), ["sft"])).toBe(null);
  });

  test.each([
    ["cut", linkOf(draft(), ["sft"])!.slice(LINK.length, -9)],
    ["no base64", "%3Cscript%3E"],
    ["not JSON", btoa("hello")],
    ["another version", btoa('{"v":2,"method":"sft","recipes":{}}').replace(/=+$/, "")],
    ["a method of Object", btoa('{"v":1,"method":"toString","recipes":{}}').replace(/=+$/, "")],
  ])("that is broken is refused: %s", (_, text) => {
    expect(() => draftOfLink(text)).toThrow("This link holds no recipe");
  });

  test("with hostile names gives no model and no data", () => {
    const text = btoa(
      '{"v":1,"method":"sft","recipes":{"sft":{"judge_key":"x"}},"model":{"kind":"hub","id":"../../x"},"data":{"kind":"stored","id":"data/x"},"evaluate":{"data":{"kind":"hub","id":"a/b"},"problems":1e9}}',
    );
    const back = draftOfLink(text.replace(/=+$/, ""));
    expect([back.model, back.data, back.evaluate, back.recipes.sft]).toEqual([null, null, null, {}]);
  });
});
