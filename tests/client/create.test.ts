import { expect, test } from "vitest";
import { createTrainer } from "../../src/client.ts";
import { QwenchError } from "../../src/errors.ts";

test("createTrainer() on a server says that it needs a browser page", () => {
  expect(() => createTrainer()).toThrow(QwenchError);
  expect(() => createTrainer()).toThrow(
    /^Cannot make a trainer here: createTrainer\(\) needs a browser page.*useEffect/,
  );
});
