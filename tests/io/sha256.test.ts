import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { Sha256 } from "../../src/io/sha256.ts";

describe("Sha256", () => {
  it("agrees with node:crypto at every length around a block, for any division into parts", () => {
    const bytes = Uint8Array.from({ length: 300 }, (_, i) => (i * 151 + 7) & 255);
    for (let length = 0; length <= 300; length++) {
      const message = bytes.subarray(0, length);
      const want = createHash("sha256").update(message).digest("hex");
      expect(new Sha256().update(message).hex()).toBe(want);
      const cut = new Sha256();
      for (let at = 0; at < length; at += 1 + (at % 71)) cut.update(message.subarray(at, at + 1 + (at % 71)));
      expect(cut.hex()).toBe(want);
    }
  });

  it("agrees on a million bytes", () => {
    const bytes = new Uint8Array(1_000_000).fill(97);
    expect(new Sha256().update(bytes).hex()).toBe("cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  });
});
