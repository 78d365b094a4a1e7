import { it } from "vitest";
import { usePublishedKernels } from "./published-kernels.ts";

const compiles = usePublishedKernels();

it("every kernel that training and decoding of published shapes need compiles on a GPU whose browser tells nothing", () =>
  compiles("a GPU whose browser tells nothing"));
