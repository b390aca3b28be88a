// Vercel's AI SDK: by its provider for servers of OpenAI's API, and by its provider for OpenAI's own.
import assert from 'node:assert/strict'
import { createOpenAI } from '@ai-sdk/openai'
import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import { APICallError, embedMany, experimental_transcribe as transcribe, generateText, Output, streamText, tool } from 'ai'
import {
  chatModel, collected, embedModel, enough, few, key, main, prompt, raised, sound, transcribeModel, url, Weather,
} from './features.mjs'

const openai = createOpenAI({ baseURL: `${url}/v1`, apiKey: key })
const server = createOpenAICompatible({
  name: 'ebbtide', baseURL: `${url}/v1`, apiKey: key, supportsStructuredOutputs: true, includeUsage: true,
})
const short = { prompt, maxOutputTokens: few }
const whole = { prompt, maxOutputTokens: enough }

/** The pieces of a streamed text; an error in the stream is thrown. */
async function pieces(asked) {
  const errors = []
  const found = await collected(streamText({ ...asked, onError: ({ error }) => errors.push(error) }).textStream)
  if (errors.length) throw errors[0]
  return found
}

await main({
  async chat() {
    const answer = await generateText({ model: server(chatModel), ...short })
    assert(answer.text)
    assert(answer.usage.outputTokens)
  },

  async stream() {
    assert((await pieces({ model: server(chatModel), ...short })).length > 1)
  },

  async tools() {
    const tools = { weather: tool({ inputSchema: Weather }) }
    const asked = { model: server(chatModel), ...whole, tools, toolChoice: 'required' }
    Weather.parse((await generateText(asked)).toolCalls[0].input)
    Weather.parse((await streamText(asked).toolCalls)[0].input)
  },

  async json_schema() {
    const output = Output.object({ schema: Weather })
    Weather.parse((await generateText({ model: server(chatModel), ...whole, output })).output)
  },

  async logprobs() {
    const providerOptions = { openai: { logprobs: 2 } }
    const answer = await generateText({ model: openai.chat(chatModel), ...short, providerOptions })
    assert(answer.providerMetadata.openai.logprobs.length)
  },

  async responses() {
    assert((await generateText({ model: openai(chatModel), prompt, maxOutputTokens: 16 })).text)
    assert((await pieces({ model: openai(chatModel), prompt, maxOutputTokens: 16 })).length > 1)
  },

  async embeddings() {
    const { embeddings } = await embedMany({ model: server.embeddingModel(embedModel), values: ['sun', 'rain'] })
    assert.deepEqual(embeddings.map(vector => typeof vector[0]), ['number', 'number'])
  },

  async audio() {
    assert((await transcribe({ model: openai.transcription(transcribeModel), audio: sound() })).text)
  },

  async errors() {
    const unknown = await raised(() => generateText({ model: server('none'), ...short }))
    assert(APICallError.isInstance(unknown))
    assert.equal(unknown.statusCode, 404)
    assert.match(unknown.message, /none/)
  },
})
