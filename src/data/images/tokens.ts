import { type NumberedRow, rowError } from "../row-error.ts";

/**
 * How often each token of a rendered row is repeated: an image token as often as its image has merged patches, any other once.
 *
 * @param image_token_id of the model; null: it has none
 * @throws {DataError} another number of image tokens than images
 */
export function imageCounts(source: NumberedRow, ids: readonly number[], image_token_id: number | null): number[] {
  const { images = [] } = source;
  const found = ids.filter((id) => id === image_token_id).length;
  if (images.length > 0 && found !== images.length) {
    throw rowError(
      source,
      `has ${images.length} images, and the chat template writes ${found} image tokens: use the template of the model's processor`,
    );
  }
  let image = 0;
  return ids.map((id) => (images.length > 0 && id === image_token_id ? images[image++].tokens : 1));
}

/** Each value as often as its count says. */
export function repeated<T>(values: readonly T[], counts: readonly number[]): T[] {
  return values.flatMap((value, i) => Array<T>(counts[i]).fill(value));
}

/** What is wrong with a row whose image max_length would cut. */
export const cutImage = (length: number, max: number) =>
  `has ${length} tokens with its images, and max_length ${max} would cut off a part of one; set max_length: null, or a larger one`;
