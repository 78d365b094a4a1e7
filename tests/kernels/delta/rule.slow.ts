import { deltaRuleCases, deltaStepCases } from "../../../src/kernels/delta/rule.cases.ts";
import { describeCases } from "../harness.ts";

describeCases("delta_rule", deltaRuleCases);
describeCases("delta_step", deltaStepCases);
