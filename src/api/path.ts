/** Below it everything is the API's. */
export const API_PATH = '/api/v1';

/** Below it everything is the web console's. */
export const CONSOLE_PATH = '/console/';
