// The web app begins here.
export {};
