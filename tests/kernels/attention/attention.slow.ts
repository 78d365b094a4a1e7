import { attentionFormCases } from "../../../src/kernels/attention/attention.cases.ts";
import { describeCases } from "../harness.ts";

describeCases("attention in every form", attentionFormCases());
