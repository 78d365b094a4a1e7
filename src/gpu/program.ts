import { GpuError } from "../errors.ts";
import { type Params, paramsOf } from "./params.ts";
import { isTextureLayout, type Slot, TEXTURE_VIEWS } from "./storage.ts";
import { VariantTree } from "./variants.ts";

/** A kernel's WGSL as a function of its variant. The function's name is the kernel's name in errors and profiles. */
// biome-ignore lint/suspicious/noExplicitAny: every shader has its own type of variant
export type Shader<V = any> = (variant: V) => string;

/** A storage binding as the WGSL declares it. */
interface Binding extends Slot {
  readonly slot: number;
}

/** A compiled pipeline with the declarations of its WGSL. */
export interface Program {
  readonly id: number;
  readonly name: string;
  readonly pipeline: GPUComputePipeline;
  readonly layout: GPUBindGroupLayout;
  /** storage buffers and textures in slot order */
  readonly storage: Binding[];
  /** slot of the uniform block; −1 if the kernel has none */
  readonly uniform: number;
  /** fields of `struct Params` in order */
  readonly params: { name: string; type: "u32" | "i32" | "f32" }[];
  /** place of each field in `params` */
  readonly fields: ReadonlyMap<string, number>;
  /** memory for the parameters of a dispatch; null if there are none */
  readonly packed: Params | null;
}

const BINDING = /@group\(0\)\s*@binding\((\d+)\)\s*var<([^>]+)>\s*(\w+)\s*:/g;
const TEXTURE = /@group\(0\)\s*@binding\((\d+)\)\s*var\s+(\w+)\s*:\s*texture_storage_2d(_array)?<rgba32uint, read>/g;
const PARAMS = /struct\s+Params\s*\{([^}]*)\}/;

/** Bindings and parameter fields, parsed from the WGSL, so that no separate list is needed. */
export function reflect(name: string, code: string): Pick<Program, "storage" | "uniform" | "params"> {
  const storage: Binding[] = [];
  let uniform = -1;
  for (const [, slot, access, binding] of code.matchAll(BINDING)) {
    if (access.startsWith("uniform")) uniform = Number(slot);
    else storage.push({ name: binding, slot: Number(slot), kind: access.includes("read_write") ? "write" : "read" });
  }
  for (const [, slot, binding, array] of code.matchAll(TEXTURE))
    storage.push({ name: binding, slot: Number(slot), kind: array ? "strips" : "linear" });
  storage.sort((a, b) => a.slot - b.slot);
  const params = [];
  const body = PARAMS.exec(code)?.[1] ?? "";
  for (const field of body.split(",").map((f) => f.trim())) {
    if (!field) continue;
    const match = /^(\w+)\s*:\s*(u32|i32|f32)$/.exec(field);
    if (!match) throw new GpuError(`Cannot read Params of kernel ${name}: "${field}" is not a u32, i32 or f32 scalar`);
    params.push({ name: match[1], type: match[2] as "u32" | "i32" | "f32" });
  }
  if (params.length > 0 !== uniform >= 0) {
    throw new GpuError(
      `Kernel ${name} has ${params.length} Params fields and ${uniform >= 0 ? "a" : "no"} uniform binding`,
    );
  }
  return { storage, uniform, params };
}

/** The source of a pipeline. */
export interface Kernel {
  readonly shader: Shader;
  readonly variant: object;
}

/** A pipeline that is being compiled. */
interface Draft extends Pick<Program, "layout" | "storage" | "uniform" | "params"> {
  descriptor: GPUComputePipelineDescriptor;
  module: GPUShaderModule;
}

/** The adapter's part of every variant. */
interface SubgroupFeatures {
  subgroups: boolean;
  /** kernels use WGSL's subgroup_id */
  subgroupId?: boolean;
}

/**
 * Compiles each variant once. Errors arrive later through `onFault`, with the kernel's name and the compiler's
 * messages.
 */
export class ProgramCache {
  private readonly programs: Map<string, Program>;
  /** the same, by the fields of a variant */
  private readonly trees: Map<Shader, VariantTree<Program>>;
  private readonly sources: Map<string, Kernel>;
  private readonly device: GPUDevice;
  private readonly features: SubgroupFeatures;
  private readonly onFault: (fault: Promise<GpuError | null>) => void;

  /** @param shared of the same device and features, whose pipelines this cache has too */
  constructor(
    device: GPUDevice,
    features: SubgroupFeatures,
    onFault: (fault: Promise<GpuError | null>) => void,
    shared: ProgramCache | null = null,
  ) {
    this.device = device;
    this.features = features;
    this.onFault = onFault;
    this.programs = shared?.programs ?? new Map();
    this.trees = shared?.trees ?? new Map();
    this.sources = shared?.sources ?? new Map();
  }

  /** Number of pipelines compiled so far. */
  get size(): number {
    return this.programs.size;
  }

  /** Sources of the pipelines, in order of first use; on a fake Gpu: the kernels that a run will need. */
  get kernels(): Kernel[] {
    return [...this.sources.values()];
  }

  has(kernel: Kernel): boolean {
    return this.programs.has(this.source(kernel).key);
  }

  get(shader: Shader, variant: object): Program {
    let tree = this.trees.get(shader);
    if (!tree) this.trees.set(shader, (tree = new VariantTree()));
    const known = tree.get(variant);
    if (known) return known;
    const program = this.compiled(shader, variant);
    tree.set(variant, program);
    return program;
  }

  private compiled(shader: Shader, variant: object): Program {
    const { key, full } = this.source({ shader, variant });
    let program = this.programs.get(key);
    if (!program) {
      this.device.pushErrorScope("validation");
      const draft = this.draft(shader.name, shader(full));
      const pipeline = this.device.createComputePipeline(draft.descriptor);
      this.onFault(explain(this.device.popErrorScope(), draft.module, key));
      program = this.keep(key, { shader, variant: full }, draft, pipeline);
    }
    return program;
  }

  /** The same, asynchronously: when it resolves, `get` has the pipeline. Errors are reported as by `get`. */
  async prepare(kernel: Kernel): Promise<void> {
    const { shader } = kernel;
    const { key, full } = this.source(kernel);
    if (this.programs.has(key)) return;
    this.device.pushErrorScope("validation");
    const draft = this.draft(shader.name, shader(full));
    const scope = this.device.popErrorScope();
    try {
      const pipeline = await this.device.createComputePipelineAsync(draft.descriptor);
      if (!this.programs.has(key)) this.keep(key, { shader, variant: full }, draft, pipeline);
    } catch (error) {
      const fault = scope.then((earlier) => earlier ?? (error as GPUPipelineError));
      this.onFault(explain(fault, draft.module, key));
    }
  }

  // The adapter's part of a variant is filled in here, so that no wrapper needs it.
  private source({ shader, variant }: Kernel): { key: string; full: object } {
    const { subgroups, subgroupId } = this.features;
    const full = { subgroups: subgroups && subgroupId ? "id" : subgroups, ...variant };
    return { key: `${shader.name} ${JSON.stringify(full)}`, full };
  }

  private keep(key: string, source: Kernel, draft: Draft, pipeline: GPUComputePipeline): Program {
    const { layout, storage, uniform, params } = draft;
    const name = source.shader.name;
    const fields = new Map(params.map((field, i) => [field.name, i]));
    const packed = params.length > 0 ? paramsOf(new Uint32Array(params.length)) : null;
    const program = { id: this.programs.size, name, pipeline, layout, storage, uniform, params, fields, packed };
    this.programs.set(key, program);
    this.sources.set(key, source);
    return program;
  }

  private draft(name: string, code: string): Draft {
    const { storage, uniform, params } = reflect(name, code);
    const { device } = this;
    const entries: GPUBindGroupLayoutEntry[] = storage.map(({ slot, kind }) => ({
      binding: slot,
      visibility: 4, // COMPUTE
      ...(isTextureLayout(kind)
        ? { storageTexture: { access: "read-only", format: "rgba32uint", viewDimension: TEXTURE_VIEWS[kind] } }
        : { buffer: { type: kind === "write" ? "storage" : "read-only-storage" } }),
    }));
    if (uniform >= 0) {
      entries.push({ binding: uniform, visibility: 4, buffer: { type: "uniform", hasDynamicOffset: true } });
    }
    const module = device.createShaderModule({ label: name, code });
    const layout = device.createBindGroupLayout({ label: name, entries });
    const descriptor = {
      label: name,
      layout: device.createPipelineLayout({ label: name, bindGroupLayouts: [layout] }),
      compute: { module, entryPoint: "main" },
    };
    return { descriptor, module, layout, storage, uniform, params };
  }
}

async function explain(
  scope: Promise<Pick<GPUError, "message"> | null>,
  module: GPUShaderModule,
  key: string,
): Promise<GpuError | null> {
  const error = await scope;
  if (!error) return null;
  const { messages } = await module.getCompilationInfo();
  const lines = messages.filter((m) => m.type === "error").map((m) => `  line ${m.lineNum}:${m.linePos} ${m.message}`);
  return new GpuError(`Cannot compile kernel ${key}: ${lines.length > 0 ? `\n${lines.join("\n")}` : error.message}`);
}
