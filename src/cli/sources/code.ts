import { availableParallelism } from "node:os";
import { pythonFiles, textThread } from "../../platform/node/code-thread.ts";
import { type CodeLimits, CodePool } from "../../rewards/code/pool.ts";
import { sandboxProgram } from "../../rewards/code/sandbox.ts";
import type { SandboxReply, SandboxRequest } from "../../rewards/code/sandbox-types.ts";

/** Most threads, because each may take up to `memory_mb`. */
const MOST_THREADS = 8;

/**
 * Threads of this process that run Python: one per core, except one core for the caller. They start with the first program.
 *
 * @throws {RecipeError} a limit is invalid
 */
export function openCodePool(limits: Partial<CodeLimits> = {}, threads?: number): CodePool {
  const program = sandboxProgram();
  return new CodePool(
    {
      files: pythonFiles,
      thread: () => textThread<SandboxRequest, SandboxReply>(program),
      threads: threads ?? Math.max(1, Math.min(MOST_THREADS, availableParallelism() - 1)),
    },
    limits,
  );
}
