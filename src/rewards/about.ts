/** A registered reward function in words. */
interface RewardAbout {
  /** its names in `reward_funcs`, the first for lists of choices */
  names: readonly [string, ...string[]];
  about: string;
  source: string;
}

/** Every registered function, in the order of the documents. */
export const REWARD_ABOUTS: readonly RewardAbout[] = [
  of("GSM8K recipe", "2 if the text in `<answer>` is identical to the expected answer", "correctness_reward_func"),
  of("GSM8K recipe", "0.5 if the answer has only digits", "int_reward_func"),
  of("GSM8K recipe", "0.5 for both blocks, each tag on its own line", "strict_format_reward_func"),
  of("GSM8K recipe", "0.5 for both blocks at the start, with any spacing", "soft_format_reward_func"),
  of(
    "GSM8K recipe",
    "0.125 for each tag that occurs once, minus a penalty for text after the end",
    "xmlcount_reward_func",
  ),
  of("Unsloth", "3 if working and solution are between their tags", "match_format_exactly"),
  of("Unsloth", "0.5 or −0.5 for each of the four tags", "match_format_approximately"),
  of("Unsloth", "up to 3 for the solution, with partial credit for near numbers", "check_answer"),
  of("Unsloth", "1.5 if the first number in the solution is the expected one", "check_numbers"),
  of("open-r1, TRL", "1 if the answer is mathematically equal to the expected one", "accuracy_reward", "accuracy"),
  of(
    "TRL",
    "1 if the answer after `</think>` is mathematically equal to the expected one",
    "reasoning_accuracy_reward",
  ),
  of("open-r1", "1 for `<think>` and `<answer>` blocks, each tag on its own line", "format_reward", "format"),
  of("TRL", "1 if the completion begins with one `<think>` block", "think_format_reward"),
  of("open-r1", "0.25 for each of the four tags", "tag_count_reward", "tag_count"),
  of("open-r1", "a third for each step of reasoning, at most 1", "reasoning_steps_reward", "reasoning_steps"),
  of("open-r1", "shorter correct completions get more", "len_reward", "length"),
  of("open-r1", "a cosine of the length, in characters", "cosine"),
  of("TRL", "a cosine of the length, in tokens", "cosine_scaled_reward"),
  of("open-r1", "a penalty for repeated n-grams of words", "repetition_penalty"),
  of("TRL", "a penalty for repeated n-grams of tokens", "repetition_penalty_reward"),
  of("open-r1", "falls to −1 towards a length limit, with open-r1's defaults", "soft_overlong_punishment"),
  of("TRL", "falls to −1 towards a length limit, with TRL's defaults", "get_soft_overlong_punishment"),
  of("open-r1", "the share of tests that the last Python block passes", "code_reward", "code"),
  of("open-r1", "1 if every test passes", "binary_code_reward", "binary_code"),
  of("open-r1", "1 for the format with a block of code in the answer", "code_format_reward", "code_format"),
  of("Qwench", "a score from another model", "judge"),
];

function of(source: string, about: string, ...names: [string, ...string[]]): RewardAbout {
  return { names, about, source };
}
