// What the programs in JavaScript share; the same as features.py.
import { z } from 'zod'

export const { EBBTIDE_URL: url, EBBTIDE_KEY: key, EBBTIDE_CHAT: chatModel } = process.env
export const { EBBTIDE_EMBED: embedModel, EBBTIDE_TRANSCRIBE: transcribeModel } = process.env
export const heldSeconds = 300
export const prompt = 'What is the weather in Paris?'
export const few = 8
export const enough = 128
export const Weather = z.object({ city: z.enum(['Paris', 'Rome']), sunny: z.boolean() })

/** A second of silence as a WAV file. */
export function sound() {
  const [rate, size] = [16000, 32000]
  const file = Buffer.alloc(44 + size)
  file.write('RIFF', 0)
  file.writeUInt32LE(36 + size, 4)
  file.write('WAVEfmt ', 8)
  file.writeUInt32LE(16, 16)
  file.writeUInt16LE(1, 20)
  file.writeUInt16LE(1, 22)
  file.writeUInt32LE(rate, 24)
  file.writeUInt32LE(rate * 2, 28)
  file.writeUInt16LE(2, 32)
  file.writeUInt16LE(16, 34)
  file.write('data', 36)
  file.writeUInt32LE(size, 40)
  return file
}

export async function collected(stream) {
  const pieces = []
  for await (const piece of stream) pieces.push(piece)
  return pieces
}

/** The error that a call must end with. */
export async function raised(call) {
  try {
    await call()
  } catch (error) {
    return error
  }
  throw new Error('no error')
}

export async function main(features) {
  const names = process.argv.slice(2)
  for (const name of names.length ? names : Object.keys(features)) {
    let wrong = null
    try {
      await features[name]()
    } catch (error) {
      wrong = String(error.stack ?? error).slice(0, 1000)
    }
    console.log(JSON.stringify({ feature: name, wrong }))
  }
}
