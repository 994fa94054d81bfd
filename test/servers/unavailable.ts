/** Thrown when a server is neither there nor to be had: one sentence that says what to install. */
export class ServersUnavailable extends Error {
  override readonly name = 'ServersUnavailable';
}

/** Takes a line for people about what takes its time: "downloading mongod …". */
export type Progress = (line: string) => void;
