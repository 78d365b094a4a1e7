/** Draws texts of one kind. @param random uniform in [0, 1) */
type TextSource = (random: () => number) => string;

const WORDS =
  "the and for you with from this have they will your what when make like time look more write see two way could people than first water been call who now find long down day did get come made may part over new sound take only little work know place year live back give most very after thing our just name good sentence man think say great where help through much before line right too mean old any same tell boy follow came want show also around form three small set put end does another well large must big even such because turn here why ask went men read need land different home move try kind hand picture again change off play spell air away animal house point page letter mother answer found study still learn should world".split(
    " ",
  );
const MONTHS = "January February March April May June July August September October November December".split(" ");
const GOODS = "Apples Bread Butter Coffee Eggs Flour Honey Juice Milk Onions Pasta Rice Salt Sugar Tea Yoghurt".split(
  " ",
);

const whole = (random: () => number, from: number, to: number) => from + Math.floor(random() * (to - from + 1));
const oneOf = <T>(random: () => number, list: readonly T[]): T => list[Math.floor(random() * list.length)];
const digits = (random: () => number, count: number) =>
  Array.from({ length: count }, () => whole(random, 0, 9)).join("");

/** What receipts, letters and forms say. */
const LINES: readonly TextSource[] = [
  (random) => `No. ${digits(random, whole(random, 3, 6))}`,
  (random) => `${whole(random, 1, 28)} ${oneOf(random, MONTHS)} ${whole(random, 1980, 2030)}`,
  (random) => `${oneOf(random, GOODS)} ${whole(random, 1, 9)} x ${whole(random, 0, 19)}.${digits(random, 2)}`,
  (random) => `Total: ${whole(random, 1, 999)}.${digits(random, 2)} EUR`,
  (random) => `Tel. +${whole(random, 1, 99)} ${digits(random, 3)} ${digits(random, 4)}`,
  (random) => {
    const words = Array.from({ length: whole(random, 3, 6) }, () => oneOf(random, WORDS)).join(" ");
    return `${words[0].toUpperCase()}${words.slice(1)}${oneOf(random, [".", "?", "!", ""])}`;
  },
];

/** The kinds of texts that can be drawn. */
export const TEXTS: Readonly<Record<string, TextSource>> = {
  digits: (random) => digits(random, whole(random, 2, 3)),
  words: (random) =>
    oneOf(
      random,
      WORDS.filter((word) => word.length <= 5),
    ),
  lines: (random) => oneOf(random, LINES)(random),
};

/** Texts of a file, one a line. */
export function textsOf(lines: string): TextSource {
  const own = lines
    .split(/\r?\n/)
    .map((line) => line.trim())
    .filter((line) => line !== "");
  if (own.length === 0) throw new Error("Cannot draw texts: the file has no line with text");
  return (random) => oneOf(random, own);
}
