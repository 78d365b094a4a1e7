/** Says what the trainer computes on, or why it can't. */
export async function show(trainer) {
  const said = document.querySelector("#said");
  try {
    const { adapter } = await trainer.device();
    said.textContent = `It computes on ${adapter}.`;
  } catch (error) {
    said.textContent = error.message;
  }
}
