import { beforeAll, describe, expect, it } from "vitest";
import { writeRandomCheckpoint } from "../../../scripts/random-checkpoint.ts";
import { ShapeError } from "../../../src/errors.ts";
import { openCheckpoint } from "../../../src/io/checkpoint.ts";
import { memoryFolder } from "../../../src/io/memory-folder.ts";
import { initAdapter, loadModel } from "../../../src/model/files/load.ts";
import {
  type GenerateOptions,
  type GenerationRequest,
  generate,
  generateStream,
} from "../../../src/model/generate/generate.ts";
import { shiftedTargets, type Transformer } from "../../../src/model/transformer.ts";
import { uniformFrom } from "../../../src/train/seed.ts";
import { useGpu } from "../../kernels/harness.ts";

const SPEC = {
  model_type: "qwen3" as const,
  hidden_size: 48,
  intermediate_size: 80,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 16,
  vocab_size: 97,
  tie_word_embeddings: true,
  max_position_embeddings: 256,
  initializer_range: 0.25,
};

const SAMPLED: GenerateOptions = {
  temperature: 0.9,
  top_k: 20,
  top_p: 0.9,
  min_p: 0.01,
  repetition_penalty: 1.1,
  max_new_tokens: 24,
  eos_token_ids: [],
  seed: 5,
};
const GREEDY: GenerateOptions = { ...SAMPLED, temperature: 0, top_k: 0, top_p: 1, min_p: 0, repetition_penalty: 1 };

const prompt = (length: number, salt: number) => Array.from({ length }, (_, i) => (7 * i * i + 13 * salt + i) % 97);
const request = (length: number, sequence: number): GenerationRequest => ({
  prompt_ids: prompt(length, sequence),
  sequence,
});

describe("generate", () => {
  const gpu = useGpu();
  let model: Transformer;

  beforeAll(async () => {
    const folder = memoryFolder("generate");
    await writeRandomCheckpoint(folder, SPEC, 3);
    const lora = {
      r: 4,
      lora_alpha: 8,
      lora_dropout: 0,
      use_rslora: false,
      target_modules: ["q_proj", "v_proj", "down_proj"] as const,
    };
    model = await loadModel(gpu(), await openCheckpoint(folder), { trained: { lora } });
    initAdapter(gpu(), model, uniformFrom(9));
    const random = uniformFrom(10);
    for (const { name, size } of model.store!.parameters) {
      if (name.includes("lora_B"))
        model.store!.write(
          gpu(),
          name,
          Float32Array.from({ length: size }, () => random() - 0.5),
        );
    }
  });

  it("gives the same greedy tokens as full forward passes", async () => {
    const [made] = await generate(model, [request(9, 0)], { ...GREEDY, max_new_tokens: 10, block: 3 });
    const ids = [...prompt(9, 0)];
    for (let n = 0; n < 10; n++) {
      const logits = await model.logits({
        input_ids: ids,
        position_ids: ids.map((_, i) => i),
        cu_seqlens: [0, ids.length],
      });
      const last = [...logits.subarray((ids.length - 1) * 97)];
      ids.push(last.indexOf(Math.max(...last)));
    }
    expect(made.ids).toEqual(ids.slice(9));
    expect(made.finish_reason).toBe("length");
  });

  it("gives a sequence the same completion alone, in a batch of 16, and after other sequences have ended", async () => {
    const requests = Array.from({ length: 16 }, (_, i) => request(1 + ((5 * i) % 30), i));
    const together = await generate(model, requests, SAMPLED);
    const alone = await generate(model, [requests[11]], SAMPLED);
    const queued = await generate(model, requests, { ...SAMPLED, slots: 3, block: 5 });
    expect(alone[0].ids).toEqual(together[11].ids);
    expect(queued.map(({ ids }) => ids)).toEqual(together.map(({ ids }) => ids));
    expect(new Set(together.map(({ ids }) => ids.join())).size).toBeGreaterThan(10);
    const other = await generate(model, [requests[11]], { ...SAMPLED, seed: 6 });
    expect(other[0].ids).not.toEqual(alone[0].ids);
  });

  it("gives a sequence the same completion where passes have rows for sequences that have ended", async () => {
    const requests = Array.from({ length: 16 }, (_, i) => ({
      ...request(1 + ((5 * i) % 30), i),
      max_new_tokens: 3 + i,
    }));
    const options = { ...SAMPLED, block: 4 };
    const [few, all] = [
      await generate(model, requests, options),
      await generate(model, requests, { ...options, slots: 16 }),
    ];
    expect(all.map(({ ids }) => ids)).toEqual(few.map(({ ids }) => ids));
    expect(all.map(({ ids }) => ids.length)).toEqual(requests.map(({ max_new_tokens }) => max_new_tokens));
    all.forEach(({ logps }, i) => {
      logps.forEach((logp, t) => {
        expect(Math.abs(logp - few[i].logps[t])).toBeLessThan(1e-4);
      });
    });
  });

  it("reports the log-probs of the trainer's own forward pass", async () => {
    const options = { ...SAMPLED, repetition_penalty: 1 };
    const [made] = await generate(model, [request(12, 4)], options);
    const ids = [...prompt(12, 4), ...made.ids];
    const batch = { input_ids: ids, position_ids: ids.map((_, i) => i), cu_seqlens: [0, ids.length] };
    const targets = shiftedTargets(
      batch,
      ids.map((id, i) => (i < 12 ? -100 : id)),
    );
    const record = gpu().recorder();
    const rows = record.scope(() =>
      record.read(model.run(record, batch, targets, { inverseTemperature: 1 / 0.9 }, null)!.logp),
    );
    record.submit();
    const logps = new Float32Array(await rows);
    expect(logps.length).toBe(made.logps.length);
    logps.forEach((logp, i) => {
      expect(Math.abs(logp - made.logps[i])).toBeLessThan(1e-3);
    });
  });

  it("shares one prefill in a group, whose members differ only by their sequence number", async () => {
    const shared = prompt(20, 1);
    const group = Array.from({ length: 4 }, (_, sequence) => ({ prompt_ids: shared, sequence }));
    const apart = group.map(({ sequence }) => ({ prompt_ids: [...shared], sequence }));
    const [one, two] = [await generate(model, group, SAMPLED), await generate(model, apart, SAMPLED)];
    expect(one.map(({ ids }) => ids)).toEqual(two.map(({ ids }) => ids));
  });

  it("ends at any EOS id, and at the length that `stop` returns", async () => {
    const [free] = await generate(model, [request(6, 2)], SAMPLED);
    const at = 7;
    const eos = free.ids[at];
    const first = free.ids.indexOf(eos);
    const [ended] = await generate(model, [request(6, 2)], { ...SAMPLED, eos_token_ids: [96, eos], block: 4 });
    expect(ended).toMatchObject({ ids: free.ids.slice(0, first + 1), finish_reason: "stop" });
    expect(ended.logps.length).toBe(first + 1);
    const streamed: number[] = [];
    const [cut] = await generate(model, [request(6, 2)], {
      ...SAMPLED,
      block: 4,
      stop: (ids) => (ids.length >= 10 ? 9 : null),
      onTokens: (ids) => streamed.push(...ids),
    });
    expect(cut).toMatchObject({ ids: free.ids.slice(0, 9), finish_reason: "stop" });
    expect(streamed).toEqual(cut.ids);
  });

  it("gives the base model's answer after the adapter is removed, without reloading", async () => {
    const before = gpu().pool.ledger.allocated;
    const off = model.withoutAdapter();
    const [on, base] = [await generate(model, [request(9, 0)], GREEDY), await generate(off, [request(9, 0)], GREEDY)];
    expect(base[0].ids).not.toEqual(on[0].ids);
    expect(gpu().pool.ledger.allocated - before).toBeLessThan(1 << 20);
    expect(await generate(model, [], GREEDY)).toEqual([]);
  });

  it("applies each request's own limit, and gives the same tokens for any block length", async () => {
    const requests = [5, 24, 1].map((max_new_tokens, i) => ({ ...request(8, i), max_new_tokens }));
    const limited = await generate(model, requests, SAMPLED);
    const free = await generate(
      model,
      [0, 1, 2].map((i) => request(8, i)),
      { ...SAMPLED, pace: 1e-3 },
    );
    expect(limited.map(({ ids }) => ids.length)).toEqual([5, 24, 1]);
    expect(limited.map(({ ids }) => ids)).toEqual(free.map(({ ids }, i) => ids.slice(0, requests[i].max_new_tokens)));
    expect(limited.map(({ finish_reason }) => finish_reason)).toEqual(["length", "length", "length"]);
  });

  it("streams each block's tokens, and frees the cache if the loop ends early", async () => {
    const requests = [request(6, 0), request(3, 1), request(9, 2)];
    const want = await generate(model, requests, SAMPLED);
    const got = requests.map(() => [] as number[]);
    for await (const { request, ids, made } of generateStream(model, requests, { ...SAMPLED, slots: 2, block: 7 })) {
      got[request].push(...ids);
      expect(ids.length).toBeLessThanOrEqual(7);
      if (made) expect(made).toEqual(want[request]);
    }
    expect(got).toEqual(want.map(({ ids }) => ids));
    const cached = () => gpu().pool.ledger.byKind.kv_cache ?? 0;
    for await (const _ of generateStream(model, requests, { ...SAMPLED, block: 2 })) break;
    expect(cached()).toBe(0);
  });

  it("refuses invalid requests", async () => {
    const refused = (requests: GenerationRequest[], options: Partial<GenerateOptions>, text: RegExp) =>
      expect(generate(model, requests, { ...GREEDY, ...options })).rejects.toThrow(text);
    await refused([{ prompt_ids: [], sequence: 0 }], {}, /prompt 0: it is empty/);
    await refused([{ prompt_ids: [97], sequence: 0 }], {}, /token 97 is outside the vocabulary of 97/);
    await refused([request(3, 0)], { eos_token_ids: [500] }, /500 as a stop token: it is outside/);
    await refused([request(3, 0)], { max_new_tokens: 0 }, /max_new_tokens must be an integer of at least 1, got 0/);
    await refused(
      [{ ...request(3, 0), max_new_tokens: 0 }],
      {},
      /max_new_tokens must be an integer of at least 1, got 0/,
    );
    await expect(generate(model, [{ prompt_ids: [], sequence: 0 }], GREEDY)).rejects.toBeInstanceOf(ShapeError);
    const stop = AbortSignal.abort(new Error("enough"));
    await refused([request(3, 0)], { signal: stop }, /enough/);
  });
});
