/* OpenAI's chat completions, as served by OpenAI, llama.cpp, vLLM, Ollama and many others: see provider.h.
 *
 * The answer is the content of choice 0; reasoning is not part of it. An answer with tool calls, a refusal or more choices
 * than one keeps its text and its finish_reason, but is marked not_text, so it is never stored. */
#ifndef DAEMON_OPENAI_H
#define DAEMON_OPENAI_H

struct provider_ops;

extern const struct provider_ops openai_ops;

#endif
