/** Below it everything is the API's. */
export const API_PATH = '/api/v1';
