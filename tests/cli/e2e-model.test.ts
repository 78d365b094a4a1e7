import { mkdtempSync, openSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it, vi } from "vitest";
import {
  type CheckpointSpec,
  configOf,
  SPECS,
  tensorsOfSpec,
  writeRandomCheckpoint,
} from "../../scripts/random-checkpoint.ts";
import { reuseGpu } from "../../src/cli/runs/open-gpu.ts";
import { encodeHeader, tensorBytes } from "../../src/io/safetensors.ts";
import { nodeFolder } from "../../src/platform/node/fs.ts";
import { sharedDevice } from "../kernels/harness.ts";
import { TINY } from "../train/fixtures.ts";
import { at, editHeader, editJson, FIRST, refused, spoilt, useEarlierRun } from "./e2e.ts";

useEarlierRun();

describe("the model", () => {
  it.each<[string, (folder: string) => void, RegExp]>([
    [
      "a shard that is missing",
      (f) => rmSync(join(f, FIRST)),
      /NotFoundError: Cannot load .*: the shard model-00001-of-00003\.safetensors is missing; .* places/,
    ],
    [
      "a shard cut short",
      (f) => truncateSync(join(f, FIRST), statSync(join(f, FIRST)).size - 10),
      /FormatError: .*model-00001-of-00003\.safetensors.*incomplete/,
    ],
    ["a shard of five bytes", (f) => truncateSync(join(f, FIRST), 5), /FormatError: .*it has 5 bytes/],
    [
      "a header that claims 2^60 bytes",
      (f) => {
        const bytes = readFileSync(join(f, FIRST));
        bytes.writeBigUInt64LE(1n << 60n);
        writeFileSync(join(f, FIRST), bytes);
      },
      /FormatError: .*its header claims 1152921504606846976 bytes; at most 100000000/,
    ],
    [
      "offsets past the file's end",
      (f) =>
        editHeader(join(f, FIRST), (h) => {
          const last = Object.values(h)
            .filter((t) => t.data_offsets)
            .sort((a, b) => b.data_offsets[1] - a.data_offsets[1])[0];
          last.data_offsets[1] += 2 * last.shape.slice(1).reduce((n, d) => n * d, 1);
          last.shape[0]++;
        }),
      /FormatError: .*ends at byte \d+ of the data, which has \d+: the file is incomplete or damaged/,
    ],
    [
      "offsets that are not the shape's size",
      (f) =>
        editHeader(join(f, FIRST), (h) => {
          h["model.embed_tokens.weight"].shape[0]++;
        }),
      /FormatError: .*model\.embed_tokens\.weight.* needs \d+ bytes, but its data_offsets \[\d+,\d+\] have \d+/,
    ],
    [
      "tensors that overlap",
      (f) =>
        editHeader(join(f, "model-00002-of-00003.safetensors"), (h) => {
          const [, second] = Object.values(h)
            .filter((t) => t.data_offsets)
            .sort((a, b) => a.data_offsets[0] - b.data_offsets[0]);
          second.data_offsets = second.data_offsets.map((o) => o - 2);
        }),
      /FormatError: .*begins at data byte \d+, inside the tensor/,
    ],
    [
      "an index that leaves the folder",
      (f) => {
        const index = JSON.parse(readFileSync(join(f, "model.safetensors.index.json"), "utf8"));
        index.weight_map["model.norm.weight"] = "../../x.safetensors";
        writeFileSync(join(f, "model.safetensors.index.json"), JSON.stringify(index));
      },
      /Error: .*\.\.\/\.\.\/x\.safetensors/,
    ],
    [
      "an index that is not JSON",
      (f) => writeFileSync(join(f, "model.safetensors.index.json"), "{"),
      /FormatError: .*index\.json: it is not JSON/,
    ],
    [
      "NaN in a weight",
      (f) => {
        const bytes = readFileSync(join(f, FIRST));
        bytes.writeUInt16LE(0x7fc0, bytes.length - 64);
        writeFileSync(join(f, FIRST), bytes);
      },
      /FormatError: Cannot load .*: model\.[\w.]+ holds a value that is not finite, at element \d+ of \[/,
    ],
    [
      "another architecture",
      (f) => editJson(join(f, "config.json"), { model_type: "llama" }),
      /UnsupportedError: .*model_type is "llama"/,
    ],
    [
      "another activation",
      (f) => editJson(join(f, "config.json"), { hidden_act: "gelu" }),
      /UnsupportedError: .*hidden_act is "gelu"/,
    ],
    [
      "a sliding window",
      (f) => editJson(join(f, "config.json"), { use_sliding_window: true, sliding_window: 8, max_window_layers: 0 }),
      /UnsupportedError: .*use_sliding_window is true/,
    ],
    [
      "another rope_scaling",
      (f) => editJson(join(f, "config.json"), { rope_scaling: { type: "linear", factor: 2 } }),
      /UnsupportedError: .*rope_scaling type is "linear"/,
    ],
    [
      "quantised weights",
      (f) => editJson(join(f, "config.json"), { quantization_config: { bits: 4 } }),
      /UnsupportedError: .*quantization_config/,
    ],
    [
      "a config of other sizes",
      (f) => editJson(join(f, "config.json"), { intermediate_size: 192 }),
      /FormatError: .*mlp\.gate_proj\.weight is \[160,64\]; its config\.json requires \[192,64\]/,
    ],
    [
      "a config of a billion layers",
      (f) => editJson(join(f, "config.json"), { num_hidden_layers: 1e9 }),
      /FormatError: .*num_hidden_layers is 1000000000; it must be at most 4096/,
    ],
    [
      "a config that is not JSON",
      (f) => writeFileSync(join(f, "config.json"), "not json"),
      /FormatError: .*config\.json: it is not JSON/,
    ],
    ["no config", (f) => rmSync(join(f, "config.json")), /NotFoundError: .*config\.json/],
    [
      "pickled weights alone",
      (f) => {
        for (const name of [
          FIRST,
          "model-00002-of-00003.safetensors",
          "model-00003-of-00003.safetensors",
          "model.safetensors.index.json",
        ])
          rmSync(join(f, name));
        writeFileSync(join(f, "pytorch_model.bin"), "x");
      },
      /UnsupportedError: .*the folder has pytorch_model\.bin/,
    ],
  ])("%s", async (_, change, message) => {
    await refused(spoilt(change), at("rows.jsonl"), message);
  });

  it("a missing folder, and a file in its place", async () => {
    await refused(
      at("nowhere"),
      at("rows.jsonl"),
      /NotFoundError: Cannot load .*nowhere: there is no such file or folder/,
    );
    await refused(
      at("rows.jsonl"),
      at("rows.jsonl"),
      /NotFoundError: Cannot load .*: it is a file; a model is a folder/,
    );
  });

  it("an adapter for another base", async () => {
    await writeRandomCheckpoint(nodeFolder(at("wide")), { ...TINY, hidden_size: 128 }, 1);
    await refused(
      at("wide"),
      at("rows.jsonl"),
      /FormatError: Cannot use adapter .*lora_A\.weight is \[4,64\]; this base model requires \[4,128\]\. The adapter is for another base model/,
      "--adapter_name_or_path",
      at("earlier"),
    );
    await refused(
      at("model"),
      at("rows.jsonl"),
      /NotFoundError: .*adapter_config\.json/,
      "--adapter_name_or_path",
      at("model"),
    );
  });

  it("a model that cannot fit is refused with its forecast, before its weights are read", async () => {
    await refused(
      at("sharded"),
      at("rows.jsonl"),
      /MemoryError: Cannot train: the forecast is [\d.]+ [KM]iB \(.*\), but 977 KiB are available\. Use a shorter max_length/,
      "--max_memory",
      "0.001",
    );
    // 72B in f32: an honest header over a sparse file of 290 GB
    const spec: CheckpointSpec = {
      ...SPECS["qwen2.5-3b"],
      hidden_size: 8192,
      intermediate_size: 29_568,
      num_hidden_layers: 80,
      num_attention_heads: 64,
      num_key_value_heads: 8,
      vocab_size: 152_064,
      tie_word_embeddings: false,
    };
    const folder = mkdtempSync(at("huge-"));
    writeFileSync(join(folder, "config.json"), JSON.stringify(configOf(spec)));
    const plan = tensorsOfSpec(spec).map(({ name, shape }) => ({ name, shape, dtype: "F32" as const }));
    const header = encodeHeader(plan);
    const file = join(folder, "model.safetensors");
    writeSync(openSync(file, "w"), header);
    truncateSync(file, header.length + plan.reduce((sum, { shape }) => sum + tensorBytes("F32", shape), 0));
    expect(statSync(file).size).toBeGreaterThan(2.5e11);
    await refused(
      folder,
      at("rows.jsonl"),
      /MemoryError: Cannot (train: the forecast is [23]\d\d GiB|(allocate|bind) .*: \d+ bytes exceed)/,
    );
  });
});

describe("the adapter", () => {
  it("a missing adapter gives installation advice", async () => {
    reuseGpu(null);
    vi.stubEnv("QWENCH_ADAPTER", "gpu");
    vi.stubEnv("VK_DRIVER_FILES", at("no-driver.json"));
    try {
      await refused(
        at("sharded"),
        at("rows.jsonl"),
        /GpuError: Cannot open adapter gpu: Dawn found no usable GPU\. \S+/,
      );
      vi.stubEnv("QWENCH_ADAPTER", "voodoo");
      await refused(
        at("sharded"),
        at("rows.jsonl"),
        /GpuError: Cannot use QWENCH_ADAPTER=voodoo: it must be one of auto, gpu, mesa, swiftshader/,
      );
    } finally {
      reuseGpu(sharedDevice);
      vi.unstubAllEnvs();
    }
  });
});
