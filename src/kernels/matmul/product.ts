import type { Recorder } from "../../gpu/recorder.ts";
import { inTexture, sizeOf } from "../../gpu/tensor.ts";
import { inPieces, textureReads } from "./cpu-forms.ts";
import { recordPanels } from "./cpu-panels.ts";
import { isSmall } from "./cpu-tiles.ts";
import { anyMatrices, usesMatrices } from "./gpu-tiles.ts";
import { matmulForm } from "./matmul-form.ts";
import { hasTail, matmulTile, plainTile } from "./matmul-tile.ts";
import { recordFactors, straight } from "./matrix-factors.ts";
import { fitsMatrices, recordMatrices } from "./matrix-product.ts";
import { paramsOf } from "./product-params.ts";
import { recordPlanned } from "./product-plans.ts";
import { halfOf, type Part, type Product } from "./product-spec.ts";
import { recordSplit, splitOf, splitParts } from "./split-sums.ts";
import { stored, storedMatrix } from "./stored.ts";

/** Outputs narrower than this are computed transposed, so that lanes run along the longer side. */
const NARROW = 64;
const TURNED = { a: "b", b: "a", extra: "extra" } as const;

/** The same products transposed: b is the left operand. */
function turn(product: Product): Product {
  const { dropout } = product;
  return {
    ...product,
    a: product.b,
    b: product.a,
    transA: !product.transB,
    transB: !product.transA,
    lda: product.ldb,
    ldb: product.lda,
    rowStride: product.colStride,
    colStride: product.rowStride,
    parts: product.parts.map((part) => ({ ...part, m: part.n, n: part.m, aAt: part.bAt, bAt: part.aAt })),
    dropout: dropout && { ...dropout, on: TURNED[dropout.on] },
  };
}

/** Whether a product can be computed transposed: b is f32 in a buffer, and nothing else is done to its sums. */
const turns = ({ b, low, bias, epilogue }: Product) => b.dtype === "f32" && !inTexture(b) && !low && !bias && !epilogue;

/**
 * A product on matrix units whose low-rank part is masked: that part alone by f32, then the rest, added to it. Null for
 * any other product.
 */
function maskedApart({ gpu }: Recorder, product: Product): Product[] | null {
  const { dropout, low, parts, bias, epilogue, tile } = product;
  if (!low || dropout?.on !== "extra" || bias || epilogue || tile || !usesMatrices(gpu)) return null;
  const rest = {
    ...product,
    low: null,
    dropout: null,
    accumulate: true,
    parts: parts.map((part) => ({ ...part, r: 0 })),
  };
  if (!fitsMatrices(rest, "f16")) return null;
  return [{ ...product, parts: parts.map((part) => ({ ...part, k: 0 })) }, rest];
}

/** Records products, in one dispatch if possible. The callers `matmul` and `lora-linear` check the shapes. */
export function recordProduct(record: Recorder, given: Product): void {
  recordPlanned(record, given, recordWhole);
}

function recordWhole(record: Recorder, given: Product): void {
  if (recordFactors(record, given) || recordPanels(record, given, recordProduct)) return;
  const narrow = given.parts.every(({ m, n }) => n <= NARROW && n < m);
  const apartAlone = narrow ? straight(record, given) : null;
  if (apartAlone && apartAlone.length > 1) {
    for (const one of apartAlone) recordProduct(record, one);
    return;
  }
  const product = narrow && !apartAlone && turns(given) ? turn(given) : given;
  const pieces = inPieces(record.gpu, product);
  if (pieces) {
    for (const piece of pieces) recordProduct(record, piece);
    return;
  }
  const apart = maskedApart(record, product) ?? splitParts(record, product);
  if (apart) {
    for (const piece of apart) recordProduct(record, piece);
    return;
  }
  const split = splitOf(record, product);
  if (split) {
    recordSplit(record, product, split, recordProduct);
    return;
  }
  const { a, b, c, transA, transB, lda, ldb, rowStride, colStride, parts, low, bias, dropout, epilogue } = product;
  const { m } = parts[0];
  if (parts.some((part) => part.m !== m)) {
    for (const part of given.parts) recordProduct(record, { ...given, parts: [part] });
    return;
  }
  const all = (field: keyof Part, multiple: number) => parts.every((part) => (part[field] ?? 0) % multiple === 0);
  const lows = epilogue?.kind === "swiglu" ? epilogue.low : parts;
  const ranks = lows.map(({ r }) => r ?? 0);
  const vecA = lda % 4 === 0 && all("aAt", 4);
  const vecB = ldb % 4 === 0 && all("bAt", 4);
  const paired = Boolean(epilogue);
  const forced = given.tile && !("kind" in given.tile) ? given.tile : null;
  const units = forced ? forced.matrix : anyMatrices(record.gpu) ? record.gpu.features.matrix : null;
  const matrices = Boolean(units) && fitsMatrices(product, units!.type);
  const small = isSmall(parts, transA, m);
  const chosen =
    forced ??
    matmulTile(record.gpu, {
      transA,
      transB,
      b: storedMatrix(b),
      m,
      n: parts.reduce((sum, { n }) => sum + n, 0),
      k: parts[0].k,
      small,
      aligned: lda % 4 === 0 && ldb % 4 === 0,
      paired,
      texture: inTexture(b),
      ...(matrices && { matrices }),
    });
  if (chosen.matrix && matrices) {
    recordMatrices(record, product, chosen);
    return;
  }
  const tile = chosen.matrix ? plainTile(record.gpu, transB, m) : chosen;
  const eight = b.dtype === "bf16" && ldb % 8 === 0 && all("bAt", 8);
  const readable = tile.stage === 0 && vecA && (b.dtype === "f32" ? vecB : eight && (transB || tile.cols % 8 === 0));
  const { texels, stripsB } = textureReads(record.gpu, product, readable);
  const cpu = record.gpu.profile.kind === "cpu";
  const variant = {
    a: a.dtype === "bf16" ? ("bf16" as const) : ("f32" as const),
    b: storedMatrix(b),
    transA,
    transB,
    ...(cpu && { fours: true }),
    vecA,
    vecB,
    eightB: eight && tile.stage === 0 && (transB ? (tile.steps ?? 4) % 8 === 0 : texels !== "none"),
    texels,
    stripsB,
    vecC: !transB && colStride === 1 && rowStride % 4 === 0 && all("cAt", 4) && sizeOf(c.shape) % 4 === 0 && !paired,
    extra: Boolean(low),
    vecExtra:
      Boolean(low) &&
      low!.lda2 % 4 === 0 &&
      ranks.every((r) => r % 4 === 0) &&
      lows.every(({ a2At = 0, b2At = 0 }) => a2At % 4 === 0 && b2At % 4 === 0) &&
      (transB || all("n", 4)),
    // sums over tokens, whose number changes: a tiny model has one kernel for all, where compiling takes longer than they do.
    // Larger ones take 1.25 times as long with a tail.
    tail: (cpu && transA && small) || hasTail(tile, parts, ranks),
    bias: bias ? stored(bias) : ("none" as const),
    accumulate: product.accumulate ?? false,
    dropout: dropout?.on ?? ("none" as const),
    tile,
    parts: product.shared ? 3 : parts.length,
    pairs: epilogue?.kind ?? ("none" as const),
    half: halfOf(epilogue),
    ...(product.split && { split: true }),
  };
  const eights = ldb % 8 === 0 && all("bAt", 8);
  const form = matmulForm(record.gpu, variant, { m, parts, ranks, eights }, given.tile);
  record.dispatch(
    form.shader,
    form.variant,
    {
      a,
      b,
      c,
      ...(low && { a2: low.a2, b2: low.b2 }),
      ...(bias && { bias }),
      ...(epilogue?.kind === "rotary" && { positions: epilogue.positions, table: epilogue.table }),
    },
    paramsOf(product, Math.max(variant.parts, lows.length), lows),
    product.split ? [...form.grid, product.split.count] : form.grid,
    parts.reduce((work, part) => work + 2 * part.m * part.n * (part.k + (part.r ?? 0)), 0),
  );
}
