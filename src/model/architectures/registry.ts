import { UnsupportedError } from "../../errors.ts";
import { show } from "../../text/show.ts";
import type { Architecture } from "./architecture.ts";
import { qwen2 } from "./qwen2.ts";
import { qwen3 } from "./qwen3.ts";
import { qwen35, qwen35Text } from "./qwen35.ts";

/** Every architecture by its `model_type`. A new one is a description and a line here. */
const ARCHITECTURES = new Map<string, Architecture>(
  [qwen2, qwen3, qwen35, qwen35Text].map((each) => [each.model_type, each]),
);

/** Registers a further architecture, from a program or a test. @returns a function that removes it */
export function addArchitecture(architecture: Architecture): () => void {
  ARCHITECTURES.set(architecture.model_type, architecture);
  return () => void ARCHITECTURES.delete(architecture.model_type);
}

/** @throws {UnsupportedError} a model_type that is not implemented; the message lists the implemented ones */
export function architectureOf({ model_type }: { model_type: string }, file = "the model"): Architecture {
  const found = ARCHITECTURES.get(model_type);
  if (found) return found;
  const known = [...ARCHITECTURES.values()].map(({ model_type, about }) => `${model_type} (${about})`);
  throw new UnsupportedError(
    `Cannot load ${file}: model_type is ${show(model_type)}; Qwench implements ${known.slice(0, -1).join(", ")} and ${known.at(-1)}`,
  );
}

/** The architecture that a GGUF file names; undefined: none. */
export function ggufArchitecture(name: unknown): Architecture | undefined {
  return [...ARCHITECTURES.values()].find(({ gguf }) => gguf !== null && gguf.architecture === name);
}
