import { sampleCases } from "../../../src/kernels/sample/sample.cases.ts";
import { describeCases } from "../harness.ts";

describeCases("sample", sampleCases);
