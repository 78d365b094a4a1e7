import type { Checkpoint } from "../../io/checkpoint.ts";
import { CONFIG_FILE, edited, openCheckpoint } from "../../io/checkpoint.ts";
import type { Folder } from "../../io/storage.ts";
import { architectureOf } from "../architectures/registry.ts";
import { EMBEDDING, HEAD, tensorsOf } from "../architectures/tensors.ts";
import { checkTensors } from "../build.ts";
import { configNotes, type ModelConfig, parseModelConfig } from "../config.ts";

/** A checkpoint whose header was read and checked; its weights are not loaded. */
interface OpenedModel {
  checkpoint: Checkpoint;
  config: ModelConfig;
  /** what the user should know */
  notes: string[];
}

/** Bytes of two tables to compare at once. */
const PIECE_BYTES = 4 << 20;

/**
 * Opens a model's folder and checks its tensors against its config.json.
 *
 * As in transformers, tensors may lack the prefix `model.` (bare base models are saved without it), or have the prefix of a
 * model that contains the language model. If the config ties the head but the file has a head that differs from the
 * embedding, the file's head is used, with a note.
 *
 * @throws as openCheckpoint, parseModelConfig and checkTensors
 */
export async function openModel(folder: Folder): Promise<OpenedModel> {
  const file = `${folder.path}/${CONFIG_FILE}`;
  const opened = await openCheckpoint(folder);
  const parsed = parseModelConfig(opened.config, file);
  let checkpoint = withPrefix(opened, parsed);
  const { weights } = checkpoint;
  const notes = [...configNotes(checkpoint.config), ...otherParts(weights, parsed, folder.path)];
  if (parsed.tie_word_embeddings && weights.has(HEAD) && (await headDiffers(checkpoint))) {
    notes.push(
      `${file} ties the head to the embedding, but the weights have a different ${HEAD}: that tensor is used, as in transformers 5`,
    );
    checkpoint = { ...checkpoint, config: edited(checkpoint.config, { tie_word_embeddings: false }) };
  }
  const config = parseModelConfig(checkpoint.config, file);
  checkTensors(config, weights, folder.path);
  return { checkpoint, config, notes };
}

/** Notes about the parts of a checkpoint that Qwench does not read. */
function otherParts(weights: Checkpoint["weights"], config: ModelConfig, where: string): string[] {
  const { passedOver = [] } = architectureOf(config);
  return passedOver.flatMap(({ prefix, note }) => {
    return note && [...weights.keys()].some((name) => name.startsWith(prefix)) ? [`${where}: ${note}`] : [];
  });
}

/** Prefixes of a language model's tensor names: as a bare base model, and as part of another model. */
const PREFIXES = ["", "model.language_model.", "language_model."];
/** The prefix that Qwench uses. */
const OWN = "model.";

/** A checkpoint under the tensor names of a language model by itself. */
function withPrefix(checkpoint: Checkpoint, config: ModelConfig): Checkpoint {
  const { weights } = checkpoint;
  if (weights.has(EMBEDDING)) return checkpoint;
  const found = PREFIXES.find((prefix) => weights.has(prefix + EMBEDDING.slice(OWN.length)));
  if (found === undefined) return checkpoint;
  const names = new Map<string, string>();
  for (const name of tensorsOf(config).keys()) if (name !== HEAD) names.set(found + name.slice(OWN.length), name);
  // the tensors of a quantised weight begin with its name and a dot
  const renamed = (name: string) => {
    for (const [from, to] of names)
      if (name === from || name.startsWith(`${from}.`)) return to + name.slice(from.length);
    return name;
  };
  const before = new Map([...checkpoint.tensors.keys()].map((name) => [renamed(name), name]));
  const rename = <T>(map: ReadonlyMap<string, T>) => new Map([...map].map(([name, value]) => [renamed(name), value]));
  return {
    ...checkpoint,
    tensors: rename(checkpoint.tensors),
    weights: rename(checkpoint.weights),
    nf4: rename(checkpoint.nf4),
    read: (name, start, end) => checkpoint.read(before.get(name) ?? name, start, end),
  };
}

/** Whether the head's table differs from the embedding's. Reads both, piece by piece, up to the first difference. */
async function headDiffers({ tensors, read }: Checkpoint): Promise<boolean> {
  const [head, embedding] = [tensors.get(HEAD), tensors.get(EMBEDDING)];
  if (!head || !embedding) return false;
  const size = head.end - head.begin;
  if (head.dtype !== embedding.dtype || size !== embedding.end - embedding.begin) return true;
  for (let at = 0; at < size; at += PIECE_BYTES) {
    const end = Math.min(at + PIECE_BYTES, size);
    const [a, b] = await Promise.all([read(HEAD, at, end), read(EMBEDDING, at, end)]);
    if (a.some((byte, i) => byte !== b[i])) return true;
  }
  return false;
}
