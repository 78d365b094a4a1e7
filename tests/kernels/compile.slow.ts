// The same for adapters whose kernels differ little from those of the others.
import "./compile.test.ts";
