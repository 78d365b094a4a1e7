// Solves held-out problems and reports pass@k: npx tsx examples/evaluate.ts [ADAPTER] [PROBLEMS]
import { evaluate } from "qwench";

const [adapter, limit = "20"] = process.argv.slice(2);
const evaluation = evaluate({
  model: "assets/tiny",
  ...(adapter && { adapter }),
  data: "assets/tiny/problems/test.jsonl", // or a data set that Qwench knows, such as gsm8k
  limit: Number(limit),
  n: 2,
  temperature: 0.7,
  max_tokens: 48,
});
for await (const event of evaluation) {
  if (event.type === "problem")
    console.log(`${event.done}/${event.total} ${event.record.is_correct ? "solved" : "not solved"}`);
  if (event.type === "end")
    console.log(`pass@1 ${event.results.pass_at[1].toFixed(1)} %, pass@2 ${event.results.pass_at[2].toFixed(1)} %`);
}
process.exit();
