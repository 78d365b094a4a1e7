/** Answers in words that have a symbol. */
const MEANINGS: Readonly<Record<string, string>> = {
  "all real numbers": "(-\\infty,\\infty)",
  "all reals": "(-\\infty,\\infty)",
  "real numbers": "(-\\infty,\\infty)",
  "no solution": "\\emptyset",
  "no solutions": "\\emptyset",
  "no real solution": "\\emptyset",
  "no real solutions": "\\emptyset",
  "empty set": "\\emptyset",
  "the empty set": "\\emptyset",
  none: "\\emptyset",
  infinity: "\\infty",
  zero: "0",
  one: "1",
  two: "2",
  three: "3",
  four: "4",
  five: "5",
  six: "6",
  seven: "7",
  eight: "8",
  nine: "9",
  ten: "10",
  eleven: "11",
  twelve: "12",
};

interface Words {
  /** in lower case, single spaces, no punctuation around */
  text: string;
  /** whether they are certainly words: marked as text, or too long for a product of letters */
  certain: boolean;
}

/** An answer of words only: Evelyn, \text{even}, (C). Null if there are digits, operators or commands. */
export function wordsOf(answer: string): Words | null {
  if (answer.length > 200) return null;
  let marked = false;
  const plain = answer
    .replace(
      /\\(?:text|mbox|textbf|textit|textrm|textnormal|mathrm|mathbf|operatorname)\s*\{([^{}]*)\}/g,
      (all, inner) => {
        marked ||= !all.startsWith("\\math");
        return ` ${inner} `;
      },
    )
    .replace(/\\[ ,;:!()[\]]|[${}~"]/g, " ")
    .replace(/^[\s(]+|[\s).!?,;]+$/g, "")
    .replace(/\s+/g, " ");
  if (plain === "" || !/^[\p{L}][\p{L}\p{M} ,.'’-]*$/u.test(plain)) return null;
  return { text: plain.toLowerCase(), certain: marked || /\p{L}{4}|^(?:yes|no|odd)$/iu.test(plain) };
}

/** LaTeX for words that mean a number or a set, else null. */
export function meaningOf(words: string): string | null {
  return Object.hasOwn(MEANINGS, words) ? MEANINGS[words] : null;
}

/** The multiple-choice letter of an answer: C, (C), \text{C}; also C. 12 or (C) 12 if `loose`. */
export function choiceOf(answer: string, loose: boolean): string | null {
  const plain = answer.replace(/\\(?:text|textbf|mathrm|mathbf|mbox)\s*\{([^{}]*)\}/g, "$1").replace(/[${}\s]+/g, " ");
  const alone =
    /^\s*\(?([A-J])\)?[.\s]*$/.exec(plain) ?? (loose ? /^\s*(?:\(([A-J])\)|([A-J])[.):])/.exec(plain) : null);
  return alone ? (alone[1] ?? alone[2]) : null;
}
