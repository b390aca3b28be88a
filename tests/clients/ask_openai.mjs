// The openai library for JavaScript.
import assert from 'node:assert/strict'
import OpenAI, { toFile } from 'openai'
import { zodFunction, zodResponseFormat, zodTextFormat } from 'openai/helpers/zod'
import {
  chatModel, collected, embedModel, enough, few, heldSeconds, key, main, prompt, raised, sound, transcribeModel, url,
  Weather,
} from './features.mjs'

const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, timeout: heldSeconds * 1000 })
const asked = { model: chatModel, messages: [{ role: 'user', content: prompt }] }
const tools = [zodFunction({ name: 'Weather', parameters: Weather })]

function isCall(answer) {
  const [call] = answer.choices[0].message.tool_calls
  Weather.parse(call.function.parsed_arguments)
}

await main({
  async chat() {
    const answer = await client.chat.completions.create({ ...asked, max_tokens: few })
    assert(answer.choices[0].message.content)
    assert(answer.usage.completion_tokens)
  },

  async stream() {
    const options = { stream: true, stream_options: { include_usage: true } }
    const chunks = await collected(await client.chat.completions.create({ ...asked, max_tokens: few, ...options }))
    assert(chunks.pop().usage.completion_tokens)
    assert(chunks.at(-1).choices[0].finish_reason)
    assert(chunks.filter(chunk => chunk.choices[0].delta.content).length > 1)
  },

  async tools() {
    const whole = { ...asked, tools, tool_choice: 'required', parallel_tool_calls: false, max_tokens: enough }
    isCall(await client.chat.completions.parse(whole))
    const one = { type: 'function', function: { name: 'Weather' } }
    isCall(await client.chat.completions.stream({ ...whole, tool_choice: one }).finalChatCompletion())
  },

  async json_schema() {
    const format = { response_format: zodResponseFormat(Weather, 'weather'), max_tokens: enough }
    const answer = await client.chat.completions.parse({ ...asked, ...format })
    Weather.parse(answer.choices[0].message.parsed)
  },

  async logprobs() {
    const answer = await client.chat.completions.create({ ...asked, max_tokens: few, logprobs: true, top_logprobs: 2 })
    for (const token of answer.choices[0].logprobs.content) assert.equal(token.top_logprobs.length, 2)
  },

  async responses() {
    const plain = { model: chatModel, input: prompt, max_output_tokens: few }
    assert((await client.responses.create(plain)).output_text)
    const events = await collected(await client.responses.create({ ...plain, stream: true }))
    assert(events.filter(event => event.type === 'response.output_text.delta').length > 1)
    assert(['response.completed', 'response.incomplete'].includes(events.at(-1).type))
    const text = { format: zodTextFormat(Weather, 'weather') }
    Weather.parse((await client.responses.parse({ ...plain, max_output_tokens: enough, text })).output_parsed)
  },

  async embeddings() {
    const answer = await client.embeddings.create({ model: embedModel, input: ['sun', 'rain'] })
    assert.deepEqual(answer.data.map(each => typeof each.embedding[0]), ['number', 'number'])
  },

  async audio() {
    const file = await toFile(sound(), 'silence.wav')
    assert((await client.audio.transcriptions.create({ model: transcribeModel, file })).text)
  },

  async errors() {
    const unknown = await raised(() => client.chat.completions.create({ ...asked, model: 'none' }))
    assert.deepEqual([unknown.status, unknown.code], [404, 'model_not_found'])
    const refused = await raised(() => client.withOptions({ apiKey: 'sk-none' }).models.list())
    assert(refused instanceof OpenAI.AuthenticationError)
  },
})
