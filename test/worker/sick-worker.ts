/** A worker that can do nothing at all, whatever it is given. */
export default function encode(): never {
  throw new Error('no memory left on this machine');
}
