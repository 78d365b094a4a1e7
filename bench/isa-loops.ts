import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

// A driver compiler's statistics and machine code of pipelines, from VK_KHR_pipeline_executable_properties.

/** Instructions of an innermost loop, by kind. */
interface Loop {
  /** multiply-adds on vectors; a dual instruction counts as two, a matrix instruction as `WMMA` */
  fma: number;
  /** all other instructions of the vector ALU */
  valu: number;
  /**
   * multiply-adds over all instructions of the vector ALU: the largest share of its peak that the loop can reach, regardless of
   * memory
   */
  share: number;
}

/** One compiled pipeline. */
export interface Compiled {
  /** threads of a subgroup */
  wave: number;
  vgprs: number;
  /** registers spilled to memory */
  spilled: number;
  /** bytes of workgroup memory */
  lds: number;
  /** subgroups that a SIMD can hold at a time */
  waves: number;
  instructions: number;
  /** loops with at least eight multiply-adds, the innermost of those */
  loops: Loop[];
}

const FMA = /^v_(pk_)?fma|^v_fmac|^v_dot/;
/**
 * A matrix instruction of 16 × 16 × 16 holds the vector ALU as long as this many others: RDNA 3 does 512 FLOPs of f16 a
 * clock in each CU of two SIMDs.
 */
const WMMA = 32;

/** Loops of a program's text: `BB7:` starts a block, `s_cbranch… BB7` jumps back to it. */
export function loopsOf(assembly: string): Loop[] {
  const blocks: { id: string; ops: [op: string, args: string][] }[] = [];
  for (const line of assembly.split("\n")) {
    const label = /^BB(\d+):/.exec(line);
    if (label) blocks.push({ id: label[1], ops: [] });
    const op = /^\t([a-z]\w+)\s?([^;]*)/.exec(line);
    if (op && blocks.length > 0) blocks[blocks.length - 1].ops.push([op[1], op[2]]);
  }
  const at = new Map(blocks.map(({ id }, n) => [id, n]));
  const loops = blocks.flatMap(({ ops }, end) =>
    ops.flatMap(([op, args]) => {
      const target = /^s_c?branch/.test(op) ? at.get(/BB(\d+)/.exec(args)?.[1] ?? "") : undefined;
      return target !== undefined && target <= end ? [[target, end] as const] : [];
    }),
  );
  // a loop of few multiply-adds inside another, such as a copy of rows, does not hide the other
  const counted = loops
    .map(([a, z]) => ({ a, z, loop: countOf(blocks.slice(a, z + 1).flatMap(({ ops }) => ops)) }))
    .filter(({ loop }) => loop.fma >= 8);
  const within = (a: number, z: number) => counted.some((of) => of.a >= a && of.z <= z && (of.a !== a || of.z !== z));
  return counted.filter(({ a, z }) => !within(a, z)).map(({ loop }) => loop);
}

function countOf(ops: readonly (readonly [string, string])[]): Loop {
  let [fma, valu] = [0, 0];
  for (const [op, args] of ops) {
    if (op.startsWith("v_dual")) {
      // two operations, each possibly a multiply-add
      const products = `${op} ${args}`.match(/fmac|fma|dot/g)?.length ?? 0;
      fma += products;
      valu += 2 - products;
    } else if (op.startsWith("v_wmma")) fma += WMMA;
    else if (FMA.test(op)) fma++;
    else if (op.startsWith("v_")) valu++;
  }
  return { fma, valu, share: fma / (fma + valu) };
}

/**
 * Pipelines in the order of their creation.
 *
 * @param folder with `pipelines.jsonl`, one object of statistics per line, and `asm/N.s`, the machine code of pipeline N
 */
export function readCompiled(folder: string): Compiled[] {
  const lines = readFileSync(join(folder, "pipelines.jsonl"), "utf8").trim().split("\n");
  const all = lines.map((line) => JSON.parse(line) as Record<string, number | string>).filter(({ entry }) => entry);
  return all.map((of, i) => {
    const file = join(folder, "asm", `${of.serial ?? i}.s`);
    return {
      wave: Number(of.subgroup),
      vgprs: Number(of.VGPRs),
      spilled: Number(of["Spilled VGPRs"]),
      lds: Number(of["LDS size"]),
      waves: Number(of["Subgroups per SIMD"]),
      instructions: Number(of.Instructions),
      loops: existsSync(file) ? loopsOf(readFileSync(file, "utf8")) : [],
    };
  });
}
