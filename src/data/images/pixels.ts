/** A decoded image: rows of red, green and blue, one byte each. */
export interface Pixels {
  width: number;
  height: number;
  /** [height, width, 3] */
  data: Uint8Array;
}

/** The colours of an image with an alpha channel, which is dropped as Pillow's `convert("RGB")` drops it. */
export function withoutAlpha({
  width,
  height,
  data,
}: {
  width: number;
  height: number;
  data: ArrayLike<number>;
}): Pixels {
  const rgb = new Uint8Array(3 * width * height);
  for (let from = 0, to = 0; to < rgb.length; from += 4, to += 3) {
    rgb[to] = data[from];
    rgb[to + 1] = data[from + 1];
    rgb[to + 2] = data[from + 2];
  }
  return { width, height, data: rgb };
}

/**
 * The image as its camera held it.
 *
 * @param orientation of its EXIF data, 1 to 8: 2 to 4 mirror or turn by 180°, 5 to 8 also swap rows and columns
 * @see Pillow's ImageOps.exif_transpose
 */
export function upright(image: Pixels, orientation: number): Pixels {
  if (orientation <= 1 || orientation > 8) return image;
  const { width, height, data } = image;
  const swapped = orientation >= 5;
  const mirrorColumns = [2, 3, 7, 8].includes(orientation);
  const mirrorRows = [3, 4, 6, 7].includes(orientation);
  const made = { width: swapped ? height : width, height: swapped ? width : height, data: new Uint8Array(data.length) };
  for (let y = 0, to = 0; y < made.height; y++) {
    for (let x = 0; x < made.width; x++, to += 3) {
      const [row, column] = swapped ? [x, y] : [y, x];
      const from = 3 * ((mirrorRows ? height - 1 - row : row) * width + (mirrorColumns ? width - 1 - column : column));
      made.data[to] = data[from];
      made.data[to + 1] = data[from + 1];
      made.data[to + 2] = data[from + 2];
    }
  }
  return made;
}
