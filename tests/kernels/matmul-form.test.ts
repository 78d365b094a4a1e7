import { matmulFormCases } from "../../src/kernels/matmul-form.cases.ts";
import { describeCases } from "./harness.ts";

describeCases("matmul forms", matmulFormCases);
