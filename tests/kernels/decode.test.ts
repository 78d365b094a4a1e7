import { decodeCases } from "../../src/kernels/decode.cases.ts";
import { describeCases } from "./harness.ts";

describeCases("decoding", decodeCases);
