const DECIMAL = /^([+-]?)(?:(\d+)(?:\.(\d*))?|\.(\d+))(?:e([+-]?\d+))?$/i;
const INFINITE = /^([+-]?)inf(?:inity)?$/i;

/** A canonical text of a number: equal values give equal texts. @returns null for text that is not a number */
export function decimalKey(text: string): string | null {
  const plain = text.replaceAll("_", "");
  const infinite = INFINITE.exec(plain);
  if (infinite) return infinite[1] === "-" ? "-inf" : "inf";
  const found = DECIMAL.exec(plain);
  if (!found) return null;
  const [, sign, whole = "", part = "", bare = "", power = "0"] = found;
  const digits = (whole + part + bare).replace(/^0+/, "");
  if (digits === "") return "0";
  let end = digits.length;
  while (digits[end - 1] === "0") end--;
  const exponent = BigInt(power) - BigInt(part.length + bare.length) + BigInt(digits.length - end);
  return `${sign === "-" ? "-" : ""}${digits.slice(0, end)}e${exponent}`;
}
